"""Timing a setting: a few of its own updates, at its own sizes, on the device at hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from workloads.device import subnormals_as_zeros
from workloads.training import TrainingRun

if TYPE_CHECKING:
    from workloads.hyperparameters import Hyperparameters
    from workloads.protocol import Dataset, Params
    from workloads.updates import Task

FEWEST, MOST = 3, 200
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
    horizon_s: float
    """Seconds for measuring the gradient horizon once."""
    looks: int
    """How often it is measured beside once at each evaluation."""

    def trial_s(self, sequence_steps: int, evaluations: int) -> float:
        """Return the seconds of a whole trial."""
        horizons = (evaluations + self.looks) * self.horizon_s
        return sequence_steps * self.step_s + evaluations * self.evaluation_s + horizons


def time_setting(
    workload: Timeable, params: Params, dataset: Dataset, *, within_s: float = 0.5, evaluation_s: float | None = None
) -> Timing:
    """Train a few updates, measure a horizon and evaluate once; this process's random numbers are left as they were.

    Where `evaluation_s` is known, from a setting like this one, evaluation is not run. ValueError where
    the setting cannot be trained.
    """
    with torch.random.fork_rng(), torch.enable_grad(), subnormals_as_zeros():
        run = TrainingRun(*workload.begin(params, dataset))
        # Horizons fall anywhere among the updates, and most often at the start: they are timed by themselves.
        run.looks = looks = len(run.due)
        run.train_until(1)  # an update takes longer the first time
        before, began = run.sequence_steps, time.perf_counter()
        for done in range(1, MOST + 1):
            run.train_until(run.sequence_steps + 1)
            seconds = time.perf_counter() - began
            if done >= FEWEST and seconds >= within_s:
                break
        step_s = seconds / (run.sequence_steps - before)
        horizon_s = _seconds(run.measure_horizon)
        if evaluation_s is None:
            evaluation_s = _seconds(lambda: run.task.evaluate(run.device))
        return Timing(step_s, evaluation_s, horizon_s, looks)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
