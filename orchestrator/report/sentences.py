"""In words: how sure a report is, what a trial costs, what updates and the gradient's horizon have to do with it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.pages import Block, Facts, Heading, Paragraph, Table
from orchestrator.report.evidence import Advice, Estimate, Front, Horizon
from orchestrator.report.findings import Report
from orchestrator.wording import count, duration, in_view_order, number, percent, setting, value_of


def advice(report: Report) -> list[Block]:
    """Recommend a whole setting, with its reason and how sure it is."""
    found = report.advice
    if found is None or report.best is None:
        return []
    facts = [(name, value_of(found.setting[name])) for name in in_view_order(found.setting)]
    value = f"{report.metric} {number(report.best['value'])}"
    reason = f"It is that of trial {found.trial}, the best of {count(found.trials, 'complete trial')} ({value}). "
    return [
        Heading("Recommended setting"),
        Facts(facts),
        Paragraph(reason + certainty(found, report) + cheaper(report)),
    ]


def certainty(found: Advice, report: Report) -> str:
    """Say how sure a recommendation is."""
    parts = []
    if found.probability is not None:
        sure = f"{100 * found.probability:.0f} %"
        parts.append(
            f"With a probability of {sure}, by the estimate below, no other truncation length is better by more "
            "than 5 % of its lead over the median trial."
        )
    elif report.answer.swept:
        parts.append(f"How sure that is cannot be said: {report.curve.note}." if report.curve.note else "")
    if found.compared and found.compared == found.trials:
        parts.append("Truncation lengths were compared at equal other settings.")
    elif found.compared:
        parts.append(f"{found.compared} of these trials differ from another in the truncation length alone.")
    if found.doubts:
        parts.append(f"Not sure: {'; '.join(found.doubts)}.")
    return " ".join(part for part in parts if part)


def cheaper(report: Report) -> str:
    """Say what the shortest length that is nearly as good saves in training time."""
    shortest = report.answer.shortest_trial
    seconds = {point.trial: point.cost for found in report.fronts if found.cost == "seconds" for point in found.points}
    if report.best is None or shortest not in seconds or report.best["trial"] not in seconds:
        return ""
    mine, other = seconds[report.best["trial"]], seconds[shortest]
    if other >= mine:
        return ""
    return f" Trial {shortest} was nearly as good in {duration(other)} of training instead of {duration(mine)}."


def curve(report: Report) -> list[Block]:
    """Show what to expect at each truncation length, for each cell type."""
    if not report.answer.swept:
        return []
    heading, found = Heading(f"What to expect by truncation length ({report.metric})"), report.curve
    if not found.estimates:
        return [heading, Paragraph(f"Not estimated from {count(found.trials, 'complete trial')}: {found.note}.")]
    cells = list(dict.fromkeys(each.cell_type for each in found.estimates))
    known = {(each.cell_type, each.truncation_length): each for each in found.estimates}
    lengths = sorted({each.truncation_length for each in found.estimates})
    rows = [[str(length), *(interval(known.get((cell, length))) for cell in cells)] for length in lengths]
    words = (
        f"Expected value and 90 % interval, by a Gaussian process over {count(found.trials, 'complete trial')}; the "
        "other hyperparameters are those of the trials made that are expected to suit best."
    )
    words += f" It was {found.note}." if found.note else ""
    return [heading, Table(["truncation_length", *(cell or "expected" for cell in cells)], rows), Paragraph(words)]


def interval(found: Estimate | None) -> str:
    """Return an estimate with its interval; a dash where there is none."""
    return "-" if found is None else f"{number(found.value)} ({number(found.low)} to {number(found.high)})"


def updates(report: Report) -> list[Block]:
    """Say whether a longer window also meant fewer updates, and show both effects where they were varied apart."""
    found = report.updates
    if not report.answer.swept or found.shortest is None or found.longest is None:
        return []
    heading = Heading("Truncation and the number of updates")
    few, many = f"{found.shortest:,.0f}", f"{found.longest:,.0f}"
    if found.kind == "equal":
        text = (
            f"All trials made as many updates in the same sequence steps (about one every {few} steps of a stream), so "
            "the difference between truncation lengths is not one of updates."
        )
        return [heading, Paragraph(text)]
    if found.kind == "confounded":
        why, fewer = ("k1 = k2: " if found.tied else ""), ("fewer" if found.falling else "more")
        text = (
            f"In this sweep a longer window also meant {fewer} updates ({why}one every {few} to {many} steps of a "
            "stream), so the difference is not truncation alone; fix train.k1 to tell them apart."
        )
        return [heading, Paragraph(text)]
    text = (
        f"Trials differ in the steps between updates (k1: {few} to {many}) as well as in the truncation length (k2), "
        "and the two did not always go together."
    )
    tables = [
        *effect("Reach", found.by_reach, metric=report.metric),
        *effect("Updates", found.by_k1, metric=report.metric),
    ]
    return [heading, Paragraph(text if tables else f"{text} There are too few trials to show both effects."), *tables]


def effect(what: str, found: Sequence[Estimate], *, metric: str) -> list[Block]:
    """Show what one of reach and updates does while the other stays."""
    if len(found) < 2:
        return []
    is_reach = what == "Reach"
    rows = [[str(each.truncation_length if is_reach else each.k1), interval(each)] for each in found]
    held = f"k1 is {found[0].k1}" if is_reach else f"the truncation length is {found[0].truncation_length}"
    spread = max(each.value for each in found) - min(each.value for each in found)
    lead = f"{what} alone, while {held}: {metric} differs by {number(spread)}."
    return [Paragraph(lead), Table(("truncation_length" if is_reach else "k1", f"expected {metric}"), rows)]


def front(found: Front, report: Report) -> list[Block]:
    """Show the trials that no other one beats in quality and cost at once."""
    title = {"seconds": "training time", "memory": "peak memory"}[found.cost]
    rows = [
        (str(point.trial), number(point.value), shown_cost(found, point.cost), setting(point.setting))
        for point in found.points
    ]
    words = f"Of {count(found.trials, 'complete trial')}, those that no other one beats in both."
    return [
        Heading(f"Quality for its {title}"),
        Table(("trial", report.metric, title, "setting"), rows),
        Paragraph(words),
    ]


def shown_cost(found: Front, cost: float) -> str:
    """Return a cost with its unit."""
    return duration(cost) if found.cost == "seconds" else f"{cost:,.0f} MB"


def horizon(report: Report) -> list[Block]:
    """Set what the best trial's gradient advises beside what the sweep found."""
    found = report.horizon
    if found is None:
        return []
    sentences = [reach(found)]
    if found.advised is not None:
        bias = (
            ""
            if found.bias is None or found.truncation_length is None
            else f"; at its own {found.truncation_length} it is about {percent(found.bias)}"
        )
        reason = "the shortest at which the gradient's estimated bias is at most 10 %"
        if found.edge is not None:
            reason = "where the gradient falls at one blow: there lies what the task has to remember"
        sentences.append(
            f"The gradient horizon of the best trial advises a truncation length of {found.advised}, {reason}{bias}."
        )
    sentences.append(verdict(found, report))
    return [Heading("The gradient's horizon beside the sweep"), Paragraph(" ".join(filter(None, sentences)))]


def reach(found: Horizon) -> str:
    """Say how far back the gradient goes."""
    factor = "" if found.decay is None else f"by a factor of {number(found.decay)} a step"
    if found.reach is None:
        said = "As far as it was followed, the best trial's gradient never fell below 1 %"
        said += f"; it changes {factor}." if factor else "."
        if found.advised is None and found.decay is not None and found.decay > 1:
            said += " It explodes: a lower max_grad_norm or learning_rate, or a gated cell, may help."
        return said
    return f"The best trial's gradient falls below 1 % after {found.reach:,.0f} steps{factor and f', {factor}'}."


def verdict(found: Horizon, report: Report) -> str:
    """Say whether horizon and sweep agree, and where not, what may be the reason."""
    best, shortest = report.answer.best, report.answer.shortest
    nearly = f" and {shortest} nearly as good" if shortest is not None and shortest != best else ""
    swept = f"the sweep found {best} best{nearly}"
    if found.agrees is None:
        return f"Whether the sweep agrees is not known: {found.why}."
    if found.agrees:
        return f"{swept[0].upper()}{swept[1:]}: they agree."
    return f"{swept[0].upper()}{swept[1:]}: they do not agree. It may be that {found.why}."
