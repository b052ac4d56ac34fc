"""Successive halving that resumes: `search.pruner: promotion`, and `delayed_promotion`.

ASHA of Li et al. (2020), "A system for massively parallel hyperparameter tuning", Algorithm 2. A trial that reaches a
rung and is not among the best third there is paused, not ended; its worker takes a paused trial that has come to be
among them, or else a new one. Everything follows from the evaluations acknowledged: nothing is to be remembered.

Who comes first to a rung goes on early there, and others overtake it: in all, more than a third go on. With
`delayed_promotion` no more than a third ever do, as in Li et al. (2022), "Hyper-Tune: towards efficient hyper-parameter
tuning at scale" (D-ASHA): a quarter to a half fewer evaluations for as many trials, whose best is found less surely.

When nothing is left to begin, workers would idle beside those that train the last trials on. They train the next best
to their end meanwhile (`spare`), beside the third: the sweep takes about as long and finds a better best.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.spec import SweepSpec
from orchestrator.trial import TrialRecord, TrialState
from orchestrator.wording import number

REDUCTION = 3
"""Of so many trials on a rung, one is promoted; each rung is so many times as far as the one below."""


def rungs_of(evaluations: int) -> tuple[int, ...]:
    """Return after how many evaluations trials are compared, the lowest first.

    From the highest of them trials are trained to their end. A rung that spares less than a third of the evaluations is
    none: it would leave trials unfinished for little.
    """
    lowest = max(evaluations // 10, 1)
    found = []
    while 3 * lowest <= 2 * evaluations:
        found.append(lowest)
        lowest *= REDUCTION
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Promotion:
    """Who goes on from a rung."""

    metric: str
    is_maximized: bool
    rungs: tuple[int, ...]
    """Evaluations after which trials are compared."""
    is_delayed: bool = False
    """Whether no more than a third go on from a rung, even where others are found to be better later."""
    evaluations: int = 0
    """Those of a whole trial."""

    @classmethod
    def of(cls, spec: SweepSpec) -> Promotion:
        """Return the rungs of a sweep; without any where its pruner is another."""
        pruner, is_maximized = spec.search.pruner, spec.objective.direction == "maximize"
        rungs = rungs_of(spec.budget.evaluations) if pruner in ("promotion", "delayed_promotion") else ()
        is_delayed, evaluations = pruner == "delayed_promotion", spec.budget.evaluations
        return cls(str(spec.objective.metric), is_maximized, rungs, is_delayed, evaluations)

    def best(self, rung: int, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
        """Return the trials that may go on from a rung: of all that ever reached it, the best third, rounded down."""
        there = [trial for trial in trials if len(trial.evaluations) >= rung]
        return self._ranked(rung, there)[: len(there) // REDUCTION]

    def _ranked(self, rung: int, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
        return sorted(trials, key=lambda trial: self._key(rung, trial))

    def _key(self, rung: int, trial: TrialRecord) -> tuple[float, int]:
        value = trial.evaluations[rung - 1].metrics[self.metric]
        return -value if self.is_maximized else value, trial.number

    def _rank(self, rung: int, trial: TrialRecord, trials: Sequence[TrialRecord]) -> tuple[int, int]:
        """Return a trial's place on a rung, from 1, and of how many; to order thousands of them would take long."""
        mine, there, better = self._key(rung, trial), 0, 0
        for other in trials:
            if len(other.evaluations) >= rung:
                there += 1
                better += self._key(rung, other) < mine
        return better + 1, there

    def _goes_on(self, rung: int, trial: TrialRecord, trials: Sequence[TrialRecord]) -> bool:
        """Tell whether a trial is in `best`, and has to wait for no other that went on."""
        place, there = self._rank(rung, trial, trials)
        most = there // REDUCTION
        return place <= most and not (self.is_delayed and self._gone(rung, trial, trials) >= most)

    def _gone(self, rung: int, trial: TrialRecord, trials: Sequence[TrialRecord]) -> int:
        """Return how many others went on from a rung by right, those counted that have yet to come further."""
        is_last = rung == self.rungs[-1]  # the rung that spares go on from
        return sum(
            len(other.evaluations) > rung or (len(other.evaluations) == rung and other.state is TrialState.RUNNING)
            for other in trials
            if other is not trial and not (is_last and other.is_spare)
        )

    def _place(self, trial: TrialRecord, trials: Sequence[TrialRecord]) -> str:
        place, there = self._rank(len(trial.evaluations), trial, trials)
        return f"{number(trial.evaluations[-1].metrics[self.metric])} is number {place} of {there}"

    def pauses(self, trial: TrialRecord, trials: Sequence[TrialRecord]) -> str:
        """Say why a trial is not to go on now: it is on a rung and not among the best there; empty where it is."""
        reached = len(trial.evaluations)
        if trial.pinned or reached not in self.rungs or self._goes_on(reached, trial, trials):
            return ""
        return f"{self._place(trial, trials)}, and {'no more than a' if self.is_delayed else 'the best'} third goes on,"

    def leaves(self, trial: TrialRecord, trials: Sequence[TrialRecord]) -> str:
        """Say why a paused trial is ended, once none goes on any more."""
        return f"not promoted: {self._place(trial, trials)}"

    def next(self, trials: Sequence[TrialRecord]) -> TrialRecord | None:
        """Return the paused trial that is to go on now, of the highest rung that has one; None where none is."""
        if not self.rungs:
            return None
        paused = [trial for trial in trials if trial.state is TrialState.PAUSED]
        for rung in reversed(self.rungs):
            waiting = [trial for trial in paused if len(trial.evaluations) == rung]
            if waiting:
                first = min(waiting, key=lambda trial: self._key(rung, trial))
                if self._goes_on(rung, first, trials):
                    return first
        return None

    def spare(self, trials: Sequence[TrialRecord], under_way: Iterable[TrialRecord]) -> TrialRecord | None:
        """Return the best paused trial of the highest rung, which an idle worker can train to its end meanwhile.

        It has no more evaluations before it than one of those under way by right, to the next rung or its end.
        """
        if not self.rungs:
            return None
        rung = self.rungs[-1]
        most = max((self._left(trial) for trial in under_way if not trial.is_spare), default=0)
        if most < self.evaluations - rung:
            return None
        paused = [trial for trial in trials if trial.state is TrialState.PAUSED and len(trial.evaluations) == rung]
        return self._ranked(rung, paused)[0] if paused else None

    def _left(self, trial: TrialRecord) -> int:
        """Return the evaluations before a trial to its next rung or its end."""
        reached = len(trial.evaluations)
        return min((stop for stop in (*self.rungs, self.evaluations) if stop > reached), default=reached) - reached

    def last_resort(self, trials: Sequence[TrialRecord]) -> TrialRecord | None:
        """Return the best paused trial of the highest rung that has one.

        A sweep of few trials may fill no rung so far that any is promoted from it; its result is trained all the same.
        """
        for rung in reversed(self.rungs):
            paused = [trial for trial in trials if trial.state is TrialState.PAUSED and len(trial.evaluations) == rung]
            if paused:
                return self._ranked(rung, paused)[0]
        return None
