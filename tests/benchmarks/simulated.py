"""Workers that only seem to train: a thousand of them cost a driver what real ones do, and the machine nothing.

Each evaluation takes its time by the clock, or none; what it comes to follows from the trial's setting and number. The
executor also notes what the driver does between two waits, which is its bookkeeping.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.executors.local import LocalExecutor
from orchestrator.trial import Assignment, Job, Reply
from workloads.protocol import Progress

MOST_AT_ONCE = 50
"""Answers that come together where evaluations take no time; all would come at once otherwise."""
NAMES = ("loss", "gradient_norm", "clipped", "bits", "perplexity")
"""What a language model's evaluation measures beside its losses, speed and memory."""


def metrics_of(number: int, params: Mapping[str, Any], evaluation: int) -> dict[str, float]:
    """Return what an evaluation (counted from 0) of a trial measures: as many metrics as a language model's."""
    best = {"lstm": 1.0, "gru": 1.2, "rnn": 1.6}[params["cell_type"]]
    best += 0.1 * math.log2(params["truncation_length"] / 32) ** 2
    best += 0.3 * math.log10(params["learning_rate"] / 0.003) ** 2 - 0.05 * math.log2(params["hidden_size"] / 16)
    loss = best + 3 * math.exp(-evaluation / 5) + 0.02 * math.sin(37.0 * number + 11.0 * evaluation)
    metrics = {"valid_loss": loss, "valid_score": 1 / loss, "peak_memory_mb": 200.0 + number % 50}
    metrics |= {f"train_{name}": 0.9 * loss for name in NAMES}
    return {**metrics, "sequence_steps_per_second": 3000.0 + number % 700}


@dataclass(slots=True)
class Turn:
    """What the driver did between two waits."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    answers: int = 0
    """Evaluations that it was given before."""
    begun: int = 0
    """Trials that it started."""
    late_s: float = 0.0
    """How long the answer that had waited longest for the driver was there already."""


class SimulatedExecutor(LocalExecutor):
    """Trains nothing, in as many slots as it is told."""

    def __init__(self, slots: int, evaluation_s: float = 0.0, noted: Callable[[Turn], None] = lambda _: None) -> None:
        """An evaluation takes so long on the average, half or half as long again for some trials; turns are noted."""
        super().__init__(slots)
        self.evaluation_s, self.noted = evaluation_s, noted
        self._folder = ""
        self._params: dict[int, Mapping[str, Any]] = {}
        self._done: dict[int, int] = {}
        self._due: list[tuple[float, int, int]] = []
        self._place: dict[int, int] = {}
        self._free = list(range(slots, 0, -1))
        self._count = 0
        self._turn = Turn()
        self._since = self._cpu_since = 0.0

    def open(self, job: Job) -> None:
        """Get ready for the trials of one sweep."""
        self._folder = job.checkpoints
        self._since, self._cpu_since = time.perf_counter(), time.thread_time()

    def worker_of(self, number: int) -> str:
        """Return one of hosts with eight workers each."""
        place = self._place[number]
        return f"host-{place // 8:03d}/{place % 8 + 1}"

    def start(self, assignment: Assignment) -> None:
        """Begin a trial, or go on after the evaluation that its checkpoint names."""
        number = assignment.number
        self._place[number] = self._free.pop()
        self._params[number] = assignment.params
        self._done[number] = int(assignment.resume_from.rpartition("-")[2]) + 1 if assignment.resume_from else 0
        self._turn.begun += 1
        self.advance(number)

    def advance(self, number: int) -> None:
        """Answer with the next evaluation, when it is time."""
        self._count += 1
        takes = self.evaluation_s * (0.5 + (number * 0.618) % 1)
        heapq.heappush(self._due, (time.perf_counter() + takes, self._count, number))

    def release(self, number: int) -> None:
        """Free a worker; one that is asked already is not stopped, and its answer is dropped."""
        del self._params[number], self._done[number]
        self._free.append(self._place.pop(number))

    def wait(self, timeout_s: float) -> list[tuple[int, Reply]]:
        """Return every evaluation that is due."""
        now = time.perf_counter()
        self._turn.seconds, self._turn.cpu_s = now - self._since, time.thread_time() - self._cpu_since
        self.noted(self._turn)
        if self._due and self._due[0][0] > now:
            time.sleep(min(self._due[0][0] - now, timeout_s))
            now = time.perf_counter()
        elif not self._due:
            time.sleep(timeout_s)
        late_s = now - self._due[0][0] if self._due else 0.0
        answers: list[tuple[int, Reply]] = []
        most = len(self._due) if self.evaluation_s else MOST_AT_ONCE
        while self._due and self._due[0][0] <= now and len(answers) < most:
            _, _, number = heapq.heappop(self._due)
            if number in self._params:
                answers.append((number, self._evaluate(number)))
        self._turn = Turn(answers=len(answers), late_s=max(late_s, 0.0))
        self._since, self._cpu_since = time.perf_counter(), time.thread_time()
        return answers

    def _evaluate(self, number: int) -> Progress:
        evaluation = self._done[number]
        self._done[number] = evaluation + 1
        metrics = metrics_of(number, self._params[number], evaluation)
        checkpoint = f"{self._folder}/trial-{number:05d}/evaluation-{evaluation}"
        return Progress(evaluation, 10_000 * (evaluation + 1), metrics, checkpoint, time.time())
