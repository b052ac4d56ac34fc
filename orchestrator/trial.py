"""What driver and workers tell each other about a trial: plain data, no behaviour of Ray, Optuna or MLflow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.errors import masked
from workloads.protocol import Dataset, Progress


class TrialState(StrEnum):
    """How a trial stands. The last four are kinds of not working, told apart because their cures differ."""

    RUNNING = "running"
    PAUSED = "paused"
    """Waits until it is among the best (pruners `promotion`, `delayed_promotion`, `curves`). Not final: it goes on."""
    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out of memory"
    FAILED = "failed"
    LOST = "lost"
    """Its worker died. Not a final state: the trial is resumed."""

    @property
    def is_final(self) -> bool:
        """Tell whether nothing more will happen to the trial."""
        return self not in (TrialState.RUNNING, TrialState.PAUSED, TrialState.LOST)


@dataclass(frozen=True, slots=True)
class Assignment:
    """One trial handed to a worker, new or to be resumed."""

    number: int
    params: Mapping[str, Any]
    resume_from: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a trial came to no further evaluation."""

    state: TrialState
    reason: str
    """One line for people."""
    traceback: str = ""

    def __post_init__(self) -> None:
        # Both are recorded and shown; what a library says of itself may hold its keys.
        object.__setattr__(self, "reason", masked(self.reason))
        object.__setattr__(self, "traceback", masked(self.traceback))


@dataclass(frozen=True, slots=True)
class Finished:
    """The workload has no further evaluation to give."""


@dataclass(frozen=True, slots=True)
class StorageFault:
    """Checkpoints cannot be written or read: a fault of the machine, which no trial is to blame for."""

    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", masked(self.reason))


@dataclass(frozen=True, slots=True)
class CheckpointLost:
    """The checkpoint that a trial was to be resumed from is gone or torn; an older one may not be."""

    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", masked(self.reason))


@dataclass(frozen=True, slots=True)
class Moved:
    """The worker's machine is about to go; the trial goes on elsewhere, and nobody is to blame."""

    checkpoint: str | None
    """From where; None: from where it was begun or resumed here."""


Reply = Progress | Failure | Finished | StorageFault | CheckpointLost | Moved
"""What a worker answers when it is asked to advance a trial."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker of a sweep is given once."""

    sweep: str
    kind: str
    options: Mapping[str, Any]
    dataset: Dataset
    checkpoints: str = field(repr=False)
    """URI of their folder; the keys of an object store may be in it."""
    cpus: float = 1.0
    gpus: float = 0.0
    memory_gb: float | None = None
    custom: Mapping[str, float] = field(default_factory=dict)
    accelerator: str | None = None
    placement: str = "pack"


COSTS = {"seconds": "sequence_steps_per_second", "memory": "peak_memory_mb"}
"""What a trial may cost, as `objective.cost` names it, with the metric that it is known by."""


@dataclass(slots=True)
class TrialRecord:
    """All that is known of one trial. The driver only ever appends to it; trackers and views read."""

    number: int
    chosen: Mapping[str, Any]
    """The swept hyperparameters."""
    params: Mapping[str, Any]
    """All hyperparameters."""
    started: float
    """Seconds since the epoch."""
    evaluations: list[Progress] = field(default_factory=list)
    state: TrialState = TrialState.RUNNING
    reason: str = ""
    ended: float | None = None
    pinned: bool = False
    """Whether the user wants it trained to its end, whatever the pruner says."""
    is_spare: bool = False
    """Whether it was promoted beside the best, for a worker that would have been idle. Another driver does not know."""

    @property
    def last(self) -> Progress | None:
        """Return the latest evaluation."""
        return self.evaluations[-1] if self.evaluations else None

    def summary(self, metric: str) -> dict[str, Any]:
        """Return number, latest value and setting in one."""
        return {"trial": self.number, "value": self.value(metric), **self.chosen}

    def value(self, metric: str) -> float | None:
        """Return the latest value of `metric`."""
        return self.last.metrics.get(metric) if self.last else None

    def cost(self, kind: str) -> float | None:
        """Return what the trial cost so far (`seconds`, or `memory` in MB); None where that was not measured."""
        found = (progress.metrics.get(COSTS[kind], math.nan) for progress in self.evaluations)
        measured = [value for value in found if math.isfinite(value)]  # a user's own workload may measure anything
        if not measured:
            return None
        return max(measured) if kind == "memory" else self.training_seconds

    @property
    def training_seconds(self) -> float:
        """Return the seconds that the trial trained, evaluations and waiting to be resumed not counted."""
        seconds, before = 0.0, 0
        for progress in self.evaluations:
            rate = progress.metrics.get(COSTS["seconds"])
            if rate and math.isfinite(rate):
                seconds += (progress.sequence_steps - before) / rate
            before = progress.sequence_steps
        return seconds


def best_trial(trials: Sequence[TrialRecord], metric: str, direction: str | None) -> TrialRecord | None:
    """Return the complete trial with the best last value of `metric`; None where no trial is complete."""
    return _best([trial for trial in trials if trial.state is TrialState.COMPLETE], metric, direction)


def trial_ahead(trials: Sequence[TrialRecord], metric: str, direction: str | None) -> TrialRecord | None:
    """Return the unfinished trial with the best last value of `metric`, however far it is; None where there is none."""
    return _best([trial for trial in trials if not trial.state.is_final], metric, direction)


def _best(trials: Sequence[TrialRecord], metric: str, direction: str | None) -> TrialRecord | None:
    valued = [(value, trial) for trial in trials if (value := trial.value(metric)) is not None]
    sign = -1.0 if direction == "maximize" else 1.0
    return min(valued, key=lambda pair: (sign * pair[0], pair[1].number))[1] if valued else None
