"""What a sweep's trials add up to: by cell type and truncation length, by reason, and in all."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from orchestrator.report.findings import Cost, Group, Reason
from orchestrator.report.values import MOST_VALUES, complete_values
from orchestrator.standing import Standing
from orchestrator.trial import TrialRecord, TrialState


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
    working = (TrialState.RUNNING, TrialState.PAUSED, TrialState.LOST, TrialState.COMPLETE, TrialState.PRUNED)
    found: dict[tuple[str, str], list[int]] = {}
    for trial in trials:
        if trial.state not in working:
            found.setdefault((str(trial.state), trial.reason), []).append(trial.number)
    most_first = sorted(found.items(), key=lambda item: -len(item[1]))
    return [Reason(state, reason, numbers) for (state, reason), numbers in most_first]


def find_cost(seen: Standing) -> Cost:
    """Add up what was used."""
    seconds = sum(trial.training_seconds for trial in seen.trials)
    steps = sum(trial.last.sequence_steps for trial in seen.trials if trial.last)
    peaks = [(peak, trial.number) for trial in seen.trials if (peak := trial.cost("memory")) is not None]
    peak, number = max(peaks, default=(None, None))
    return Cost(seen.row.elapsed_s, seconds, steps, steps / seconds if seconds else None, peak, number)
