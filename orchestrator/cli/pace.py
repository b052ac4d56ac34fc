"""How fast a sweep goes, and when it will be done."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from orchestrator.event import Event, Happening
from orchestrator.trial import TrialRecord

WINDOW_S = 60.0
"""Throughput is that of the last minute, or longer where evaluations are further apart than that."""
FEWEST = 8
"""Evaluations that throughput is taken over, where there are so many."""


class Pace:
    """Listens to a sweep's events from its first on, and counts only what this driver did."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.began = clock()
        self.evaluations = 0
        self._recent: deque[tuple[float, int]] = deque([(self.began, 0)])

    def take(self, event: Event) -> None:
        """Count an evaluation."""
        trial = event.trial
        if event.happening is not Happening.EVALUATED or trial is None or trial.last is None:
            return
        before = trial.evaluations[-2].sequence_steps if len(trial.evaluations) > 1 else 0
        now = self.clock()
        self.evaluations += 1
        self._recent.append((now, trial.last.sequence_steps - before))
        while len(self._recent) > FEWEST and self._recent[0][0] < now - WINDOW_S:
            self._recent.popleft()

    @property
    def elapsed_s(self) -> float:
        """Return the seconds since the first event."""
        return self.clock() - self.began

    def sequence_steps_per_second(self) -> float:
        """Return the recent throughput of all workers together."""
        (began, _), *later = self._recent
        return sum(steps for _, steps in later) / max(self.clock() - began, 1e-9)

    def seconds_left(self, trials: Sequence[TrialRecord], *, allowed: int, evaluations: int) -> float | None:
        """Estimate the time to the last trial's end; None before there is anything to judge by.

        Trials to come are taken to be as long as those that ended were, pruned ones among them.
        """
        if not self.evaluations:
            return None
        ended = [len(trial.evaluations) for trial in trials if trial.state.is_final]
        per_trial = sum(ended) / len(ended) if ended else float(evaluations)
        under_way = [min(len(trial.evaluations), per_trial) for trial in trials if not trial.state.is_final]
        left = max(allowed - len(ended), 0) * per_trial - sum(under_way)
        return max(left, 0.0) * self.elapsed_s / self.evaluations
