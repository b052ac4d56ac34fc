"""The seam between the sweep loop and whatever trains its trials."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from orchestrator.machine import Machine
from orchestrator.trial import Assignment, Job, Reply


class Executor(Protocol):
    """Trains trials in slots. The loop counts slots and asks; it never sees a process or an actor."""

    def warm_up(self, within_s: float = 0.0) -> None:
        """Begin to get ready behind the caller's back, in so many seconds or now; what goes wrong is told later."""

    def machine(self, memory_gb: float | None = None) -> Machine:
        """Return what the smallest machine has that trials would be trained on; `memory_gb` limits their memory."""

    def measure(self, function: Callable[..., Any], *arguments: Any, gpus: float = 0.0) -> Any:
        """Call a function in a process like a worker's, and return its answer; BpttError where that cannot be."""

    def open(self, job: Job) -> None:
        """Get ready for the trials of one sweep; BpttError where that cannot be."""

    @property
    def slots(self) -> int:
        """Return how many trials can be under way now; it may be 0 for a while, and change as a cluster does."""

    @property
    def waits_for(self) -> str:
        """Return in a line what nothing can be trained without now; empty where something can."""

    def worker_of(self, number: int) -> str:
        """Return who trains a trial under way, as `host/place`: no two have one place at a time."""

    def start(self, assignment: Assignment) -> None:
        """Begin or resume a trial in a free slot, and ask for its next evaluation."""

    def advance(self, number: int) -> None:
        """Ask for the next evaluation of a trial that answered with one."""

    def release(self, number: int) -> None:
        """Give up a trial, ended or not; its slot is free at once."""

    def wait(self, timeout_s: float) -> list[tuple[int, Reply]]:
        """Return the answers that came, by trial number; none if `timeout_s` passed first."""

    def close(self) -> None:
        """Stop all training and free everything."""


def first_free(taken: Iterable[int]) -> int:
    """Return the lowest place, counted from 1, that nobody has."""
    known = set(taken)
    return next(place for place in range(1, len(known) + 2) if place not in known)
