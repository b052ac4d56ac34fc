"""What a sweep found, as plain data: which truncation length the task needs, what else mattered, and what it cost."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.database.ledger import Ledger
from orchestrator.database.stints import read_stints
from orchestrator.report.advice import find_advice
from orchestrator.report.beside import by_group, compare, losses
from orchestrator.report.curve import find_curve
from orchestrator.report.findings import Answer, Comparison, Importance, Report
from orchestrator.report.fronts import find_fronts
from orchestrator.report.horizon import find_horizon
from orchestrator.report.landscape import survey
from orchestrator.report.optunas import study_of
from orchestrator.report.tables import by_label, by_length, find_cost, find_reasons, group
from orchestrator.report.timeline import find_timeline
from orchestrator.report.updates import find_updates
from orchestrator.report.values import NEARLY, at_edge, complete_values, hyperparameter, lead_of
from orchestrator.search.by_name import quietly
from orchestrator.spec import trials_allowed
from orchestrator.standing import Standing, plain_trial, standing
from orchestrator.trial import TrialRecord
from orchestrator.wording import count_states

FEWEST_FOR_IMPORTANCE = 4
"""Complete trials below which no importance is told."""
MANY, TREES, FEW_TREES = 100, 64, 16
"""Above so many complete trials a tree takes long, and fewer of them come to the same."""
MOST_JUDGED = 1000
"""Complete trials by which an importance is judged at most."""


def make_report(ledger: Ledger, name: str) -> Report:
    """Gather what the sweep found so far; SweepNotFound where there is none."""
    return report_of(ledger, standing(ledger, ledger.sweep(name)))


def report_of(ledger: Ledger, seen: Standing) -> Report:
    """Gather what a sweep found by the moment at which it was looked at."""
    trials, row = seen.trials, seen.row
    lengths: dict[int, int] = hyperparameter(seen, "truncation_length")
    cells: dict[int, str] = hyperparameter(seen, "cell_type")
    compared, answer = find_baselines(seen), find_answer(seen, lengths)
    landscape, note = survey(seen)
    updates = find_updates(seen, landscape)
    return Report(
        name=row.name,
        workload=seen.spec.workload.kind,
        state=seen.state,
        message=row.message,
        metric=seen.metric,
        direction=str(seen.spec.objective.direction),
        allowed=trials_allowed(seen.spec),
        states=count_states(trials),
        answer=answer,
        advice=find_advice(seen, answer, landscape=landscape),
        best=None if seen.best is None else plain_trial(seen.best, seen.metric),
        importance=find_importance(seen),
        cell_types=[group(seen, label, members, lengths) for label, members in by_label(trials, cells)],
        truncation_lengths=[group(seen, label, members, lengths) for label, members in by_length(trials, lengths)],
        curve=find_curve(seen, landscape, note=note),
        updates=updates,
        fronts=find_fronts(seen),
        horizon=find_horizon(seen, answer, landscape=landscape, updates=updates),
        reasons=find_reasons(trials),
        cost=find_cost(seen),
        timeline=find_timeline(seen, read_stints(ledger, row.name)),
        baselines=compared,
        losses=losses(compared),
        groups=by_group(last_metrics(seen.best) or {}, known_baselines(seen)),
        data=dict(row.dataset),
        model=row.model,
    )


def find_answer(seen: Standing, lengths: Mapping[int, int]) -> Answer:
    """Compare the truncation lengths of the complete trials."""
    swept = seen.spec.space.get("truncation_length")
    values = {number: value for number, value in complete_values(seen, seen.trials).items() if number in lengths}
    if not values:
        return Answer(swept is not None, None, None, None, None, "")
    winner = next(iter(values))
    lead = lead_of(values)
    near = [number for number, value in values.items() if abs(value - values[winner]) <= NEARLY * lead]
    shortest = min(near, key=lambda number: lengths[number])
    edge = at_edge(swept, lengths[winner])
    return Answer(swept is not None, lengths[winner], lengths[shortest], shortest, values[shortest], edge)


def find_importance(seen: Standing) -> Importance:
    """Ask Optuna (fANOVA, Hutter, Hoos and Leyton-Brown 2014) what explains the complete trials' values."""
    values = complete_values(seen, seen.trials)
    if len(values) < FEWEST_FOR_IMPORTANCE:
        return Importance({}, len(values), f"{FEWEST_FOR_IMPORTANCE} complete trials are the fewest to judge by")
    if len(set(values.values())) == 1:
        return Importance({}, len(values), "all complete trials came to the same value")
    judged = differing(trial.chosen for trial in seen.trials if trial.number in values)
    if not judged:
        return Importance(
            {}, len(values), "the complete trials do not differ in any hyperparameter that all of them have"
        )
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    with quietly():
        evaluator = FanovaImportanceEvaluator(n_trees=TREES if len(values) <= MANY else FEW_TREES, seed=0)
        try:
            parts = get_param_importances(study_of(thinned(seen, values)), evaluator=evaluator, params=judged)
        except RuntimeError:  # no tree found any variance
            return Importance({}, len(values), "the complete trials' values differ too little to be told apart")
    left_out = sorted(set(seen.spec.space) - set(judged))
    note = f"not judged, for it has one value or some trials lack it: {', '.join(left_out)}" if left_out else ""
    return Importance({name: float(part) for name, part in parts.items()}, len(values), note)


def thinned(seen: Standing, numbers: Collection[int]) -> Standing:
    """Return a sweep with at most MOST_JUDGED of its trials, evenly spread: trees of many thousands take minutes."""
    step = -(-len(numbers) // MOST_JUDGED)
    if step <= 1:
        return seen
    kept = set(sorted(numbers)[::step])
    return replace(seen, trials=[trial for trial in seen.trials if trial.number in kept])


def differing(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the hyperparameters that all settings have and that are not the same in all of them."""
    found = list(settings)
    shared = set(found[0]).intersection(*found)
    return sorted(name for name in shared if len({setting[name] for setting in found}) > 1)


def find_baselines(seen: Standing) -> list[Comparison]:
    """Set each baseline beside the best trial's value of the same metric."""
    return compare(known_baselines(seen), last_metrics(seen.best), dict(seen.spec.load_workload().objectives))


def known_baselines(seen: Standing) -> dict[str, float]:
    """Return the baselines of the sweep's data; none before they were prepared."""
    return dict(seen.row.dataset.get("baselines", {}))


def last_metrics(trial: TrialRecord | None) -> Mapping[str, float] | None:
    """Return what a trial's last evaluation measured, by which it is judged."""
    return trial.last.metrics if trial is not None and trial.last else None
