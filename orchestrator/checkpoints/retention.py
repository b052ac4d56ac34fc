"""Which checkpoints a sweep leaves behind, and when the others go.

The database is the truth: what it says of the trials decides, and files are deleted only after it does, so that a kill
at any moment leaves too many files, never too few.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from orchestrator.checkpoints.storage import CheckpointStorage
from orchestrator.pareto import undominated
from orchestrator.settings import Keep
from orchestrator.spec import SweepSpec
from orchestrator.trial import TrialRecord, TrialState, best_trial

CHECKPOINTS_KEPT = 2
"""The last ones of a trial that has not ended: the one acknowledged, and the one before."""


@dataclass(frozen=True, slots=True)
class _Costed:
    trial: int
    value: float
    cost: float


def worth_keeping(spec: SweepSpec, trials: Sequence[TrialRecord], keep: Keep) -> set[int]:
    """Return the ended trials, by number, whose last checkpoint stays."""
    ended = [trial for trial in trials if trial.state.is_final]
    if keep == "all":
        return {trial.number for trial in ended}
    metric, direction, cost = str(spec.objective.metric), spec.objective.direction, spec.objective.cost
    best = best_trial(ended, metric, direction)
    kept = set() if best is None else {best.number}
    if cost is not None:
        points = [
            _Costed(trial.number, value, costs)
            for trial in ended
            if trial.state is TrialState.COMPLETE
            and (value := trial.value(metric)) is not None
            and (costs := trial.cost(cost)) is not None
        ]
        kept |= {point.trial for point in undominated(points, -1.0 if direction == "maximize" else 1.0)}
    return kept


def superseded(spec: SweepSpec, trials: Sequence[TrialRecord], keep: Keep) -> Iterator[str]:
    """Yield the URIs of all checkpoints that the database points to and nobody needs any more."""
    kept = worth_keeping(spec, trials, keep)
    for trial in trials:
        last = CHECKPOINTS_KEPT if not trial.state.is_final else int(trial.number in kept)
        for progress in trial.evaluations[: max(len(trial.evaluations) - last, 0)]:
            yield progress.checkpoint


@dataclass(slots=True)
class Retention:
    """Deletes the checkpoints of one sweep as they are superseded. Only the driver that holds the lease may."""

    spec: SweepSpec
    checkpoints: CheckpointStorage
    keep: Keep = "best"
    _held: dict[int, TrialRecord] = field(default_factory=dict)
    """Ended trials, by number, whose last checkpoint is still there and may have to go."""

    def begin(self, trials: Sequence[TrialRecord]) -> None:
        """Take a sweep up: delete what a driver before this one was killed before it deleted."""
        kept = worth_keeping(self.spec, trials, self.keep)
        self._held = {trial.number: trial for trial in trials if trial.number in kept}
        if not trials:
            return
        with contextlib.suppress(OSError):  # a storage that is away or broken is told of by the worker that needs it
            there = {file.name for file in self.checkpoints.files()}
            for uri in superseded(self.spec, trials, self.keep):
                if self.checkpoints.name_of(uri) in there:
                    self._delete(uri)

    def ended(self, trial: TrialRecord) -> None:
        """Delete what a trial that has ended, in the database too, leaves behind or makes needless of others."""
        for progress in trial.evaluations[-1 - CHECKPOINTS_KEPT : -1]:  # one more than that was there until now
            self.checkpoints.delete(progress.checkpoint)
        if self.keep == "all":
            return
        # What none of these was worth keeping for is not worth it now either.
        self._held[trial.number] = trial
        kept = worth_keeping(self.spec, [*self._held.values()], self.keep)
        for number in self._held.keys() - kept:
            last = self._held.pop(number).last
            if last is not None:
                self._delete(last.checkpoint)

    def _delete(self, uri: str) -> None:
        self.checkpoints.delete(uri)
        self.checkpoints.drop_if_empty(self.checkpoints.name_of(uri).rpartition("/")[0])
