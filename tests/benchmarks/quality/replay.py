"""A sweep in virtual time: the sweep loop, samplers and pruners as they are, with recorded curves for training.

Left out are the database and the lease, which decide nothing. A worker's seconds are those recorded.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from unittest.mock import patch

from orchestrator.event import Happening
from orchestrator.executors.base import Executor
from orchestrator.machine import Machine
from orchestrator.search.study import SweepStudy
from orchestrator.spec import SweepSpec, spec_from
from orchestrator.sweep import Sweep
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import Assignment, Failure, Job, Reply, TrialRecord, TrialState
from tests.benchmarks.quality.table import Curve, Table
from workloads.protocol import Progress

BEGIN_S = 0.02
"""Seconds that it takes a warm worker to begin or resume a trial: `make bench` has 14 to 16 ms."""


class Recorded:
    """An executor whose workers train for the seconds recorded, on a clock of its own."""

    def __init__(self, table: Table, workers: int) -> None:
        self.table, self.slots, self.waits_for = table, workers, ""
        self.clock = self._spent = 0.0
        self._due: list[tuple[float, int, int]] = []  # when, trial, evaluation
        self._begun: dict[int, float] = {}
        self._curves: dict[int, Curve] = {}

    @property
    def spent(self) -> float:
        """Return the seconds that all workers trained so far."""
        return self._spent + sum(self.clock - begun for begun in self._begun.values())

    def machine(self, memory_gb: float | None = None) -> Machine:
        """Not asked."""
        raise NotImplementedError

    def measure(self, function: Callable[..., Any], *arguments: Any, gpus: float = 0.0) -> Any:
        """Not asked."""
        raise NotImplementedError

    def open(self, job: Job) -> None:
        """Be ready."""

    def close(self) -> None:
        """End."""

    def worker_of(self, number: int) -> str:
        """Return a name."""
        return f"recorded/{number}"

    def start(self, assignment: Assignment) -> None:
        """Begin or resume."""
        number, resume_from = assignment.number, assignment.resume_from
        self._curves[number] = self.table.curve(assignment.params)
        self._begun[number] = self.clock
        self._train(number, 0 if resume_from is None else int(resume_from) + 1, self.clock + BEGIN_S)

    def advance(self, number: int) -> None:
        """Train on from the evaluation that was answered last."""
        self._train(number, self._answered + 1, self.clock)

    def _train(self, number: int, evaluation: int, since: float) -> None:
        heapq.heappush(self._due, (since + self._curves[number].seconds[evaluation], number, evaluation))

    def release(self, number: int) -> None:
        """Free the slot."""
        self._spent += self.clock - self._begun.pop(number)
        self._due = [due for due in self._due if due[1] != number]
        heapq.heapify(self._due)

    def wait(self, timeout_s: float) -> list[tuple[int, Reply]]:
        """Answer what is due next; no time passes but on the clock here."""
        if not self._due:
            return []
        self.clock, number, self._answered = heapq.heappop(self._due)
        curve, at = self._curves[number], self._answered
        if at >= len(curve.values):
            return [(number, Failure(TrialState.DIVERGED, "the loss exploded"))]
        grid = self.table.sequence_steps / self.table.evaluations
        metrics = {"valid_loss": float(curve.values[at]), "sequence_steps_per_second": grid / float(curve.seconds[at])}
        return [(number, Progress(at, round((at + 1) * grid), metrics, str(at), self.clock))]


class Nothing:
    """Stands for a part that decides nothing: whatever it is asked, it does not do."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.stop_requested = self.out_of_time = threading.Event()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *_, **__: {} if name == "attributes" else None


class Wishes(Nothing):
    """Steering by settings that are to be tried first, and nothing else."""

    def __init__(self, wanted: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__()
        self._wanted = list(wanted)

    def begin_wanted(self, study: SweepStudy) -> TrialRecord | None:
        """Begin the next of them."""
        return study.ask(self._wanted.pop(0), wish=len(self._wanted)) if self._wanted else None

    def listen(self, sweep: Sweep, *, now: bool = False) -> list[Any]:
        """Hear nothing."""
        return []


class NoCheckpoints(Nothing):
    """Places whose checkpoints are the numbers of the evaluations before them."""

    def due(self, trial: TrialRecord) -> int:
        """Return the evaluation that comes next."""
        return len(trial.evaluations)

    def checkpoint(self, trial: TrialRecord) -> str | None:
        """Return the evaluation to go on from."""
        return trial.last.checkpoint if trial.last else None


@dataclass
class Replayed:
    """What came of a sweep."""

    found: list[tuple[float, float]] = field(default_factory=list)
    """Seconds of workers spent, and the last value of a trial that was complete then, each better than those before."""
    spent: float = 0.0
    trials: list[TrialRecord] = field(default_factory=list)

    @property
    def best(self) -> float:
        """Return the best last value of a trial trained to its end."""
        return self.found[-1][1] if self.found else float("inf")

    def reaches(self, value: float) -> float:
        """Return the seconds spent when a trial was complete that is as good; infinite where none is."""
        return next((spent for spent, found in self.found if found <= value), float("inf"))


def spec_of(table: Table, search: Mapping[str, Any], trials: int) -> SweepSpec:
    """Return the sweep over a table; the workload is a stand-in, for nobody trains it."""
    return spec_from(
        {
            "name": f"replay-{search.get('seed', 0)}",
            "workload": {"kind": "language_model"},
            "space": table.space,
            "train": {"batch_size": 1},
            "budget": {"trials": trials, "sequence_steps": 100_000, "evaluations": table.evaluations},
            "search": dict(search),
        }
    )


@dataclass(frozen=True)
class Limits:
    """What a sweep may use up."""

    trials: int
    workers: int
    seconds: float = math.inf
    """Of all workers together."""


def replay(
    table: Table, search: Mapping[str, Any], limits: Limits, *, wanted: Sequence[Mapping[str, Any]] = ()
) -> Replayed:
    """Sweep until the trials or the seconds of workers are used up; the settings `wanted` are tried first."""
    executor = Recorded(table, limits.workers)
    replayed = Replayed()
    with patch("orchestrator.search.study.DurableStudy", Nothing):
        study = SweepStudy(cast("Any", Nothing()), spec_of(table, search, limits.trials), "replay")
        parts = [Nothing(), Nothing(), Wishes(wanted), Nothing(), Nothing()]
        sweep = Sweep(study, cast("Executor", executor), NoTracker(), *cast("Any", parts))
        sweep.places = cast("Any", NoCheckpoints())
        for event in sweep.run():
            trial = event.trial
            if event.happening is Happening.ENDED and trial is not None and trial.state is TrialState.COMPLETE:
                value = trial.value("valid_loss")
                if value is not None and value < replayed.best:
                    replayed.found.append((executor.spent, value))
            if executor.spent >= limits.seconds:
                sweep.stop("the seconds are used up")
    replayed.spent, replayed.trials = executor.spent, sweep.trials
    return replayed
