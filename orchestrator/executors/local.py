"""Training inside this process, one evaluation at a time: for tests, for debugging, and where Ray is not wanted."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from orchestrator.executors.base import first_free
from orchestrator.machine import Machine, this_machine
from orchestrator.trial import Assignment, Job, Reply
from orchestrator.worker import Worker


class LocalExecutor:
    """Trials take turns in this process. With several slots, a trial is paused while another advances."""

    def __init__(self, slots: int = 1) -> None:
        self._slots = slots
        self._job: Job | None = None
        self._workers: dict[int, Worker] = {}
        self._asked: deque[tuple[int, Assignment | None]] = deque()
        self._host = socket.gethostname()
        self._places: dict[int, int] = {}

    def warm_up(self, within_s: float = 0.0) -> None:
        """Do nothing: this process is there."""

    def machine(self, memory_gb: float | None = None) -> Machine:
        """Return what this machine has."""
        return this_machine(memory_gb)

    def measure(self, function: Callable[..., Any], *arguments: Any, gpus: float = 0.0) -> Any:
        """Call it here."""
        return function(*arguments)

    def open(self, job: Job) -> None:
        """Get ready for the trials of one sweep; what one process takes is no trial's own, so none has a limit."""
        self._job = replace(job, memory_gb=None)

    @property
    def slots(self) -> int:
        """Return how many trials take turns."""
        return self._slots

    @property
    def waits_for(self) -> str:
        """Return nothing: there is always room here."""
        return ""

    def worker_of(self, number: int) -> str:
        """Return this machine and the trial's place among those that take turns."""
        return f"{self._host}/{self._places[number]}"

    def start(self, assignment: Assignment) -> None:
        """Begin or resume a trial; it trains when the loop next waits."""
        if self._job is None:
            raise RuntimeError("open() comes before start()")
        if len(self._workers) >= self._slots:
            raise RuntimeError("no slot is free")
        worker = self._workers[assignment.number] = Worker()
        self._places[assignment.number] = first_free(self._places.values())
        worker.prepare(self._job)
        self._asked.append((assignment.number, assignment))

    def advance(self, number: int) -> None:
        """Ask for the next evaluation."""
        self._asked.append((number, None))

    def release(self, number: int) -> None:
        """Give up a trial."""
        self._asked = deque(entry for entry in self._asked if entry[0] != number)
        self._places.pop(number, None)
        worker = self._workers.pop(number, None)
        if worker is not None:
            worker.release()

    def wait(self, timeout_s: float) -> list[tuple[int, Reply]]:
        """Train the trial whose turn it is to its next evaluation, however long that takes."""
        if not self._asked:
            return []
        number, assignment = self._asked.popleft()
        worker = self._workers[number]
        return [(number, worker.advance() if assignment is None else worker.start(assignment))]

    def close(self) -> None:
        """Give up all trials."""
        for number in list(self._workers):
            self.release(number)
