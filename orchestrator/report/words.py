"""A report in words: one page, to be written as text or Markdown or shown in a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence

from orchestrator.pages import Block, Facts, Heading, Paragraph, Table
from orchestrator.report.findings import Group, Groups, Importance, Report
from orchestrator.report.sentences import advice, curve, front, horizon, updates
from orchestrator.wording import count, duration, in_view_order, number, percent, state_word, value_of
from orchestrator.workers import shown_workers

FEW = 10
"""Complete trials below which an importance is a hint rather than a finding."""
NUMBERS_SHOWN = 5
MOST_FAULTS = 20


def page_of(report: Report) -> list[Block]:
    """Return the whole report as a page."""
    return [
        Heading(f"{report.name}: {report.workload}"),
        Paragraph(answer(report)),
        *([Paragraph(" ".join(report.losses))] if report.losses else []),
        *best(report),
        *advice(report),
        *importance(report.importance),
        *groups("By cell type", "cell_type", report.cell_types, report),
        *groups("By truncation length", "truncation_length", report.truncation_lengths, report),
        *curve(report),
        *updates(report),
        *(block for found in report.fronts for block in front(found, report)),
        *baselines(report),
        *(block for found in report.groups for block in by_group(found)),
        *horizon(report),
        *trials(report),
        *timeline(report),
        *cost(report),
        *data(report),
    ]


def answer(report: Report) -> str:
    """Say in the first sentence which truncation length the task needs."""
    found, metric = report.answer, report.metric
    so_far = "" if report.state == "finished" else "So far: "
    if report.best is None:
        return f"No trial of {report.name} has been trained to its end yet, so there is no answer yet."
    value = f"trial {report.best['trial']}, {metric} {number(report.best['value'])}"
    if found.best is None:
        return f"{so_far}The best is {value}; {report.workload} says nothing of a truncation length."
    if not found.swept:
        return (
            f"{so_far}The truncation length was {found.best} in all trials, so this sweep cannot tell which one the "
            f"task needs; move it to space: to find out. The best is {value}."
        )
    complete = sum(group.complete for group in report.truncation_lengths)
    of_all = count(complete, "complete trial")
    sentences = [f"{so_far}Use a truncation length of {found.best}: the best of {of_all} has it ({value})."]
    if found.shortest is not None and found.shortest < found.best:
        sentences.append(
            f"The shortest that does nearly as well is {found.shortest} "
            f"(trial {found.shortest_trial}, {metric} {number(found.shortest_value)})."
        )
    if found.at_edge:
        other = "longer" if found.at_edge == "upper" else "shorter"
        sentences.append(
            f"It lies at the {found.at_edge} end of what was searched, so a {other} one may be better still."
        )
    return " ".join(sentences)


def best(report: Report) -> list[Block]:
    """Show the best trial."""
    if report.best is None:
        return []
    facts = [
        ("trial", str(report.best["trial"])),
        (report.metric, f"{number(report.best['value'])} ({report.direction})"),
        *((name, value_of(report.best["setting"][name])) for name in in_view_order(report.best["setting"])),
    ]
    if report.model:
        facts.append(("model", report.model))
    return [Heading("Best trial"), Facts(facts)]


def importance(found: Importance) -> list[Block]:
    """Show how much each swept hyperparameter matters."""
    heading = Heading("What matters")
    if not found.parts:
        return [heading, Paragraph(f"Not known from {count(found.trials, 'complete trial')}: {found.note}.")]
    rows = [(name, f"{100 * part:.0f} %") for name, part in found.parts.items()]
    words = f"How much of the difference between {found.trials} complete trials each hyperparameter explains (fANOVA)."
    if found.trials < FEW:
        words += " From so few trials it is a hint, not a finding."
    if found.note:
        words += f" {found.note[0].upper()}{found.note[1:]}."
    return [heading, Table(("hyperparameter", "explains"), rows), Paragraph(words)]


def groups(title: str, column: str, found: Sequence[Group], report: Report) -> list[Block]:
    """Show trials sorted by something they have in common."""
    if not found:
        return []
    with_length = column != "truncation_length"
    columns = [column, "trials", "complete", "best", "median", "best trial"]
    rows = [
        [
            group.label,
            str(group.trials),
            str(group.complete),
            number(group.best),
            number(group.median),
            whole(group.best_trial),
            *([whole(group.best_truncation_length)] if with_length else []),
        ]
        for group in found
    ]
    table = Table([*columns, "its length"] if with_length else columns, rows)
    return [Heading(f"{title} ({report.metric} of complete trials)"), table]


def whole(figure: int | None) -> str:
    """Return a whole figure; a dash where there is none."""
    return "-" if figure is None else str(figure)


def baselines(report: Report) -> list[Block]:
    """Set the best trial beside what needs no training."""
    if not report.baselines:
        return []
    words = {True: "yes", False: "NO", None: "-"}
    rows = [
        (found.name, found.metric, number(found.baseline), number(found.best), words[found.beaten])
        for found in report.baselines
    ]
    return [
        Heading("Beside baselines"),
        Table(("baseline", "metric", "its value", "best trial", "beaten"), rows),
    ]


def by_group(found: Groups) -> list[Block]:
    """Show the best trial's metrics by group."""
    metrics = list(dict.fromkeys(name for measured in found.members.values() for name in measured))
    rows = [[name, *(number(measured.get(metric)) for metric in metrics)] for name, measured in found.members.items()]
    return [Heading(f"By {found.kind.replace('_', ' ')} (best trial)"), Table((found.kind, *metrics), rows)]


def trials(report: Report) -> list[Block]:
    """Show the states of all trials, and why some did not work."""
    begun = sum(report.states.values())
    rows = [(state_word(state, report.state == "running"), str(amount)) for state, amount in report.states.items()]
    message = f" ({report.message})" if report.message not in ("", report.state) else ""
    words = f"{report.name} is {report.state}{message}: "
    page: list[Block] = [Heading("Trials"), Paragraph(f"{words}{begun} of {count(report.allowed, 'trial')} begun.")]
    if rows:
        page.append(Table(("state", "trials"), rows))
    if report.reasons:
        named = [(found.state, found.reason, str(len(found.trials)), numbers(found.trials)) for found in report.reasons]
        page.append(Table(("state", "reason", "trials", "numbers"), named))
    return page


def numbers(found: Sequence[int]) -> str:
    """Return the first numbers of trials."""
    shown = ", ".join(map(str, found[:NUMBERS_SHOWN]))
    return f"{shown} and {len(found) - NUMBERS_SHOWN} more" if len(found) > NUMBERS_SHOWN else shown


def cost(report: Report) -> list[Block]:
    """Show what was used up."""
    used = report.cost
    facts = [
        ("run for", duration(used.wall_s)),
        ("training", f"{duration(used.trial_s)}, all trials added up"),
        ("sequence steps", f"{used.sequence_steps:,}"),
    ]
    if used.sequence_steps_per_second is not None:
        facts.append(("speed", f"{number(used.sequence_steps_per_second)} sequence steps/s in one trial, on average"))
    if used.peak_memory_mb is not None:
        facts.append(("peak memory", f"{used.peak_memory_mb:,.0f} MB, in trial {used.peak_memory_trial}"))
    return [Heading("Cost"), Facts(facts)]


def timeline(report: Report) -> list[Block]:
    """Say who trained, how long workers were idle, and what was broken off."""
    found = report.timeline
    if found is None:
        return []
    there = found.trained_s + found.idle_s
    part = f" ({percent(found.idle_s / there)})" if there else ""
    text = (
        f"{count(found.workers, 'worker')} trained for {duration(found.trained_s)}, all added up, and "
        f"{'was' if found.workers == 1 else 'were'} idle for {duration(found.idle_s)}{part} between a first trial and "
        "a last."
    )
    if found.drivers > 1:
        text += f" {found.drivers} drivers followed one another."
    if not found.faults:
        return [Heading("Workers"), Paragraph(f"{text} Nothing was lost on the way.")]
    names = shown_workers([each.worker for each in found.faults])
    rows = [(clock(each.time), str(each.trial), names[each.worker], each.what) for each in found.faults[:MOST_FAULTS]]
    text += f" {count(len(found.faults), 'stretch')} of training broken off".replace("stretchs", "stretches")
    text += f"; the first {MOST_FAULTS}:" if len(found.faults) > MOST_FAULTS else ":"
    return [Heading("Workers"), Paragraph(text), Table(("when (UTC)", "trial", "worker", "why"), rows)]


def clock(seconds: float) -> str:
    """Return a moment to the second, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def data(report: Report) -> list[Block]:
    """Say what was trained on."""
    known = report.data
    if not known:
        return []
    sizes = ", ".join(f"{name} {' x '.join(f'{n:,}' for n in shape)}" for name, shape in known.get("sizes", {}).items())
    facts = [("name", known["name"]), ("source", known["source"]), ("fingerprint", known["fingerprint"])]
    return [Heading("Data"), Facts([*facts, *([("sizes", sizes)] if sizes else [])])]
