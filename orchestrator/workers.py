"""What each worker of a sweep does: it trains a trial, or none.

Known from the stints that the sweep's driver notes: by the driver itself as it notes them, by whoever looks from the
database. A worker that has trained nothing yet is not known there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchestrator.database.stints import Stint
from orchestrator.trial import TrialRecord


class Doing(StrEnum):
    """What a worker does."""

    TRAINING = "training"
    IDLE = "idle"
    GONE = "gone"
    """It died, or its machine went; another may come in its place."""


LEFT_FOR_GOOD = ("lost", "moved")
"""Ways in which a stint ends with its worker."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker at one moment."""

    worker: str
    """As `host/place`."""
    doing: Doing
    since: float
    """Seconds since the epoch."""
    number: int | None = None
    """Of the trial that it trains."""
    trial: TrialRecord | None = None
    """That trial; None too where it had not begun yet when trials were read."""

    def plain(self, metric: str, evaluations: int) -> dict[str, Any]:
        """Return plain values for scripts; `evaluations` is how many a trial makes."""
        trial = self.trial
        return {
            "worker": self.worker,
            "doing": str(self.doing),
            "since": self.since,
            "seconds": round(max(time.time() - self.since, 0.0), 1),
            "trial": self.number,
            "evaluation": None if trial is None else len(trial.evaluations),
            "evaluations": None if trial is None else evaluations,
            "value": None if trial is None else trial.value(metric),
        }


def find_workers(stints: Iterable[Stint], trials: Sequence[TrialRecord]) -> list[WorkerState]:
    """Return the workers by host and place, from one driver's stints in the order they began."""
    latest = {stint.worker: stint for stint in stints}
    known = {trial.number: trial for trial in trials}
    return [_state(latest[name], known.get(latest[name].trial)) for name in shown_workers([*latest])]


def _state(stint: Stint, trial: TrialRecord | None) -> WorkerState:
    if stint.ended is None:
        return WorkerState(stint.worker, Doing.TRAINING, stint.began, stint.trial, trial)
    doing = Doing.GONE if stint.how in LEFT_FOR_GOOD else Doing.IDLE
    return WorkerState(stint.worker, doing, stint.ended)


def shown_workers(names: Sequence[str]) -> Mapping[str, str]:
    """Return workers' names for people, in order: `worker 2`, with the host where there is more than one."""
    parted = sorted({name: name.rpartition("/") for name in names}.items(), key=lambda item: _place_of(item[1]))
    several = len({host for _, (host, _, _) in parted}) > 1
    return {name: f"{host} {place}" if several else f"worker {place}" for name, (host, _, place) in parted}


def _place_of(parts: tuple[str, str, str]) -> tuple[str, int, str]:
    """Return a key that sorts workers by host and place."""
    host, _, place = parts
    return host, int(place) if place.isdecimal() else 0, place
