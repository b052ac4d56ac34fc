"""What every part of a report goes by: the values of complete trials, their hyperparameters, the lengths to look at."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import workloads
from orchestrator.space import Parameter
from orchestrator.standing import Standing
from orchestrator.trial import TrialRecord, TrialState
from workloads.hyperparameters import Hyperparameters, truncation_length_of

NEARLY = 0.05
"""A trial is nearly as good as the best if it lacks at most this part of the best's lead over the median trial."""
MOST_VALUES = 8
"""Truncation lengths looked at one by one; of more of them, so many less one, evenly spaced on a log scale."""


def hyperparameter(seen: Standing, name: str) -> dict[int, Any]:
    """Return a hyperparameter by trial, its default where nothing else is said.

    Trials of a user's own workload, which may know no such thing, have it only where it is said; one whose gradients
    are never cut has no truncation length, whatever is said.
    """
    default = next(field.default for field in dataclasses.fields(Hyperparameters) if field.name == name)
    ours = seen.spec.workload.kind in workloads.KINDS
    given = {trial.number: trial.params for trial in seen.trials if ours or name in trial.params}
    if name != "truncation_length":
        return {number: params.get(name, default) for number, params in given.items()}
    lengths = {number: truncation_length_of(params) for number, params in given.items()}
    return {number: length for number, length in lengths.items() if length is not None}


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


def at_edge(swept: Parameter | None, length: int) -> str:
    """Return `upper` or `lower` where `length` is so near to that end of the range that the range may be too narrow."""
    ends = [] if swept is None else [end for end in swept.ends() if isinstance(end, (int, float))]
    if len(ends) < 2:
        return ""
    if length >= 0.9 * max(ends):
        return "upper"
    return "lower" if length <= 1.1 * min(ends) else ""


def lead_of(values: Mapping[int, float]) -> float:
    """Return the lead of the best over the median trial, of values by trial, the best first."""
    return abs(statistics.median(values.values()) - next(iter(values.values())))


def grid_of(found: Sequence[int]) -> list[int]:
    """Return the steps to look at, of all that were tried, in order."""
    if len(found) <= MOST_VALUES:
        return list(found)
    low, high, last = min(found), max(found), MOST_VALUES - 2
    return sorted({round(low * (high / low) ** (index / last)) for index in range(last + 1)})
