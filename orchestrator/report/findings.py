"""The parts of a report: what a sweep found, as plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.report.evidence import Advice, Curve, Front, Horizon, Timeline, Updates


@dataclass(frozen=True, slots=True)
class Group:
    """Trials that have something in common."""

    label: str
    trials: int
    complete: int
    best: float | None
    median: float | None
    best_trial: int | None
    best_truncation_length: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """Which truncation length the task needs, as far as the sweep shows."""

    swept: bool
    best: int | None
    """That of the best trial; None before a trial is complete, or where the workload knows no truncation length."""
    shortest: int | None
    """The shortest one that is nearly as good."""
    shortest_trial: int | None
    shortest_value: float | None
    at_edge: str
    """`upper` or `lower` where the best lies at that end of what was searched."""


@dataclass(frozen=True, slots=True)
class Importance:
    """How much of the difference between complete trials each swept hyperparameter explains."""

    parts: Mapping[str, float]
    """They add up to 1; empty where there is too little to judge by."""
    trials: int
    note: str
    """Why there is nothing, or what to keep in mind."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A baseline beside the best trial."""

    name: str
    metric: str
    baseline: float
    best: float | None
    beaten: bool | None
    """None where one of the two is missing, or where nobody knows which way is better."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The best trial's metrics by group of one kind, such as the steps ahead of a forecast."""

    kind: str
    members: Mapping[str, Mapping[str, float]]
    """Metrics by name, for each group."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Trials that did not work, for one reason."""

    state: str
    reason: str
    trials: Sequence[int]


@dataclass(frozen=True, slots=True)
class Cost:
    """What the sweep used up so far."""

    wall_s: float
    trial_s: float
    """Seconds of training, all trials added up."""
    sequence_steps: int
    sequence_steps_per_second: float | None
    """Of one trial in training, on average."""
    peak_memory_mb: float | None
    peak_memory_trial: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """What a sweep found, or has found so far."""

    name: str
    workload: str
    state: str
    message: str
    metric: str
    direction: str
    allowed: int
    states: Mapping[str, int]
    answer: Answer
    advice: Advice | None
    """None before a trial is complete."""
    best: Mapping[str, Any] | None
    importance: Importance
    cell_types: Sequence[Group]
    truncation_lengths: Sequence[Group]
    curve: Curve
    updates: Updates
    fronts: Sequence[Front]
    horizon: Horizon | None
    """None where the best trial measured nothing of it."""
    reasons: Sequence[Reason]
    cost: Cost
    timeline: Timeline | None
    """None for a sweep of before workers were noted."""
    baselines: Sequence[Comparison]
    losses: Sequence[str]
    """A sentence for each baseline that the best trial loses to."""
    groups: Sequence[Groups]
    data: Mapping[str, Any]
    model: str | None

    def plain(self) -> dict[str, Any]:
        """Return plain values, fit for JSON."""
        return dataclasses.asdict(self)
