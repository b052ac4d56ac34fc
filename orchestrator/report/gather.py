"""What a sweep found, as plain data: which truncation length the task needs, what else mattered, and what it cost."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import workloads
from orchestrator.ledger import Ledger
from orchestrator.report.beside import by_group, compare, losses
from orchestrator.report.findings import Answer, Comparison, Cost, Gradient, Group, Importance, Reason, Report
from orchestrator.space import Parameter
from orchestrator.spec import trials_allowed
from orchestrator.standing import Standing, plain_trial, standing
from orchestrator.study import load_study, quietly
from orchestrator.trial import TrialRecord, TrialState
from orchestrator.wording import count_states
from workloads.hyperparameters import Hyperparameters

MOST_VALUES = 8
"""Truncation lengths listed one by one; more of them are put into ranges that double."""
NEARLY = 0.05
"""A trial is nearly as good as the best if it lacks at most this part of the best's lead over the median trial."""
FEWEST_FOR_IMPORTANCE = 4
"""Complete trials below which no importance is told."""


def make_report(ledger: Ledger, name: str) -> Report:
    """Gather what the sweep found so far; SweepNotFound where there is none."""
    seen = standing(ledger, ledger.sweep(name))
    trials, row = seen.trials, seen.row
    lengths: dict[int, int] = hyperparameter(seen, "truncation_length")
    cells: dict[int, str] = hyperparameter(seen, "cell_type")
    compared = find_baselines(seen)
    return Report(
        name=name,
        workload=seen.spec.workload.kind,
        state=seen.state,
        message=row.message,
        metric=seen.metric,
        direction=str(seen.spec.objective.direction),
        allowed=trials_allowed(seen.spec),
        states=count_states(trials),
        answer=find_answer(seen, lengths),
        best=None if seen.best is None else plain_trial(seen.best, seen.metric),
        importance=find_importance(ledger, seen),
        cell_types=[group(seen, label, members, lengths) for label, members in by_label(trials, cells)],
        truncation_lengths=[group(seen, label, members, lengths) for label, members in by_length(trials, lengths)],
        reasons=find_reasons(trials),
        cost=find_cost(seen),
        baselines=compared,
        losses=losses(compared),
        groups=by_group(last_metrics(seen.best) or {}, known_baselines(seen)),
        gradient=find_gradient(seen.best, lengths),
        data=dict(row.dataset),
        model=row.model,
    )


def hyperparameter(seen: Standing, name: str) -> dict[int, Any]:
    """Return a hyperparameter by trial, its default where nothing else is said.

    Trials of a user's own workload, which may know no such thing, have it only where it is said.
    """
    default = next(field.default for field in dataclasses.fields(Hyperparameters) if field.name == name)
    ours = seen.spec.workload.kind in workloads.KINDS
    return {trial.number: trial.params.get(name, default) for trial in seen.trials if ours or name in trial.params}


def complete_values(seen: Standing, trials: Iterable[TrialRecord]) -> dict[int, float]:
    """Return the values of the trials that were trained to their end, by number, the best first."""
    values = {
        trial.number: value
        for trial in trials
        if trial.state is TrialState.COMPLETE and (value := trial.value(seen.metric)) is not None
    }
    return dict(sorted(values.items(), key=lambda item: (sign(seen) * item[1], item[0])))


def sign(seen: Standing) -> float:
    """Return what a value is multiplied by for the smallest to be the best."""
    return -1.0 if seen.spec.objective.direction == "maximize" else 1.0


def find_answer(seen: Standing, lengths: Mapping[int, int]) -> Answer:
    """Compare the truncation lengths of the complete trials."""
    swept = seen.spec.space.get("truncation_length")
    values = {number: value for number, value in complete_values(seen, seen.trials).items() if number in lengths}
    if not values:
        return Answer(swept is not None, None, None, None, None, "")
    winner = next(iter(values))
    lead = abs(statistics.median(values.values()) - values[winner])
    near = [number for number, value in values.items() if abs(value - values[winner]) <= NEARLY * lead]
    shortest = min(near, key=lambda number: lengths[number])
    edge = at_edge(swept, lengths[winner])
    return Answer(swept is not None, lengths[winner], lengths[shortest], shortest, values[shortest], edge)


def at_edge(swept: Parameter | None, length: int) -> str:
    """Return `upper` or `lower` where `length` is so near to that end of the range that the range may be too narrow."""
    ends = [] if swept is None else [end for end in swept.ends() if isinstance(end, (int, float))]
    if len(ends) < 2:
        return ""
    if length >= 0.9 * max(ends):
        return "upper"
    return "lower" if length <= 1.1 * min(ends) else ""


def find_importance(ledger: Ledger, seen: Standing) -> Importance:
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
        study = load_study(ledger, seen.row.name)
        evaluator = FanovaImportanceEvaluator(seed=0)
        # Of two objectives the first is the quality.
        parts = get_param_importances(study, evaluator=evaluator, params=judged, target=lambda trial: trial.values[0])
    left_out = sorted(set(seen.spec.space) - set(judged))
    note = f"not judged, for it has one value or some trials lack it: {', '.join(left_out)}" if left_out else ""
    return Importance({name: float(part) for name, part in parts.items()}, len(values), note)


def differing(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the hyperparameters that all settings have and that are not the same in all of them."""
    found = list(settings)
    shared = set(found[0]).intersection(*found)
    return sorted(name for name in shared if len({setting[name] for setting in found}) > 1)


def by_label(trials: Sequence[TrialRecord], labels: Mapping[int, str]) -> list[tuple[str, list[TrialRecord]]]:
    """Sort trials by a label, the labels in order."""
    found = sorted(set(labels.values()))
    return [(label, [trial for trial in trials if labels.get(trial.number) == label]) for label in found]


def by_length(trials: Sequence[TrialRecord], lengths: Mapping[int, int]) -> list[tuple[str, list[TrialRecord]]]:
    """Sort trials by truncation length: each by itself where they are few, else in ranges that double."""
    few = len(set(lengths.values())) <= MOST_VALUES
    keys = {number: length if few else 2 ** (length.bit_length() - 1) for number, length in lengths.items()}
    return [
        (str(key) if few else f"{key} to {2 * key - 1}", [trial for trial in trials if keys.get(trial.number) == key])
        for key in sorted(set(keys.values()))
    ]


def group(seen: Standing, label: str, members: Sequence[TrialRecord], lengths: Mapping[int, int]) -> Group:
    """Sum up trials that have something in common."""
    values = complete_values(seen, members)
    winner = next(iter(values), None)
    return Group(
        label,
        trials=len(members),
        complete=len(values),
        best=None if winner is None else values[winner],
        median=statistics.median(values.values()) if values else None,
        best_trial=winner,
        best_truncation_length=None if winner is None else lengths.get(winner),
    )


def find_reasons(trials: Sequence[TrialRecord]) -> list[Reason]:
    """Put together the trials that did not work, by state and reason; pruned ones worked."""
    working = (TrialState.RUNNING, TrialState.LOST, TrialState.COMPLETE, TrialState.PRUNED)
    found: dict[tuple[str, str], list[int]] = {}
    for trial in trials:
        if trial.state not in working:
            found.setdefault((str(trial.state), trial.reason), []).append(trial.number)
    most_first = sorted(found.items(), key=lambda item: -len(item[1]))
    return [Reason(state, reason, numbers) for (state, reason), numbers in most_first]


def find_cost(seen: Standing) -> Cost:
    """Add up what was used."""
    seconds = sum(map(training_seconds, seen.trials))
    steps = sum(trial.last.sequence_steps for trial in seen.trials if trial.last)
    peaks = [
        (progress.metrics["peak_memory_mb"], trial.number)
        for trial in seen.trials
        for progress in trial.evaluations
        if "peak_memory_mb" in progress.metrics
    ]
    peak, number = max(peaks, default=(None, None))
    return Cost(seen.row.elapsed_s, seconds, steps, steps / seconds if seconds else None, peak, number)


def training_seconds(trial: TrialRecord) -> float:
    """Return the seconds that a trial trained, evaluations and waiting to be resumed not counted."""
    seconds, before = 0.0, 0
    for progress in trial.evaluations:
        rate = progress.metrics.get("sequence_steps_per_second")
        if rate:
            seconds += (progress.sequence_steps - before) / rate
        before = progress.sequence_steps
    return seconds


def find_baselines(seen: Standing) -> list[Comparison]:
    """Set each baseline beside the best trial's value of the same metric."""
    return compare(known_baselines(seen), last_metrics(seen.best), dict(seen.spec.load_workload().objectives))


def known_baselines(seen: Standing) -> dict[str, float]:
    """Return the baselines of the sweep's data; none before they were prepared."""
    return dict(seen.row.dataset.get("baselines", {}))


def last_metrics(trial: TrialRecord | None) -> Mapping[str, float] | None:
    """Return what a trial's last evaluation measured, by which it is judged."""
    return trial.last.metrics if trial is not None and trial.last else None


def find_gradient(best: TrialRecord | None, lengths: Mapping[int, int]) -> Gradient | None:
    """Return what the best trial's last evaluation says of its gradient; None where it says nothing."""
    metrics = best.last.metrics if best is not None and best.last else {}
    if best is None or "gradient_decay" not in metrics:
        return None
    return Gradient(
        lengths.get(best.number),
        decay=metrics["gradient_decay"],
        at_truncation=metrics["gradient_at_truncation"],
        vanishing=bool(metrics.get("gradient_vanishing")),
        exploding=bool(metrics.get("gradient_exploding")),
    )
