"""Timing a setting: a few of its own updates, at its own sizes, on the device at hand."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

import torch

from workloads.training import TrainingRun

if TYPE_CHECKING:
    from workloads.hyperparameters import Hyperparameters
    from workloads.protocol import Dataset, Params
    from workloads.updates import Task

FEWEST, MOST = 3, 40
"""Updates that are timed; between the two, as many as fit into the time given."""


class Timeable(Protocol):
    """A workload that says what its training begins with. A user's own need not."""

    def begin(self, params: Params, dataset: Dataset) -> tuple[Task, Hyperparameters]:
        """Return what training is given."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a setting trains."""

    step_s: float
    """Seconds for each sequence step, all streams of the batch counted."""
    evaluation_s: float
    """Seconds for each evaluation: the pass over held-out data."""

    def trial_s(self, sequence_steps: int, evaluations: int) -> float:
        """Return the seconds of a whole trial."""
        return sequence_steps * self.step_s + evaluations * self.evaluation_s

    def plain(self) -> dict[str, Any]:
        """Return plain values, to be stored."""
        return asdict(self)


def time_setting(
    workload: Timeable, params: Params, dataset: Dataset, *, within_s: float = 0.5, evaluation_s: float | None = None
) -> Timing:
    """Train a few updates and evaluate once; this process's random numbers are left as they were.

    Where `evaluation_s` is known, from a setting like this one, evaluation is not run.

    ValueError where the setting cannot be trained. Updates on whole sequences differ in length: what is counted is the
    time of each beside its own steps.
    """
    with torch.random.fork_rng(), torch.enable_grad():
        run = TrainingRun(*workload.begin(params, dataset))
        run.train_until(1)  # an update takes longer the first time
        seconds: list[float] = []
        began = time.perf_counter()
        while len(seconds) < FEWEST or (time.perf_counter() - began < within_s and len(seconds) < MOST):
            run.train_until(run.sequence_steps + 1)
            seconds.append(run.interval.seconds / run.interval.sequence_steps)
        if evaluation_s is None:
            began = time.perf_counter()
            run.task.evaluate(run.device)
            evaluation_s = time.perf_counter() - began
        return Timing(median(seconds), evaluation_s)
