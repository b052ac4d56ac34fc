"""The sweep loop. Read this first: everything else serves it.

    ask -> start -> (Progress: record, prune or advance) ... -> tell -> ask ...

The driver pulls: a worker trains to its next evaluation only when asked, so to prune a trial is not to ask again. The
database is the truth: an evaluation counts once it is recorded there, and whatever dies, the sweep is taken up from
there. Ray is disposable, MLflow is a view.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy.exc import SQLAlchemyError

from orchestrator.checkpoints import CheckpointStorage
from orchestrator.errors import BpttError, LeaseLost
from orchestrator.executors.base import Executor
from orchestrator.ledger import Lease
from orchestrator.study import SweepStudy
from orchestrator.tracking.base import Tracker
from orchestrator.trial import Assignment, Failure, Finished, Reply, TrialRecord, TrialState
from workloads.protocol import Progress

MOST_LOSSES = 3
"""Workers that may die on one trial before it makes an evaluation; after that it is told as failed."""
HOPELESS = 5
"""Trials that may fail at the start of a sweep in which nothing was ever evaluated."""
RENEW_EVERY_S = 2.0
CHECKPOINTS_KEPT = 2
"""The last ones of each trial: one to resume from, and the one before in case that is torn."""


class Happening(StrEnum):
    """What an event tells of."""

    STARTED = "started"
    RESUMED = "resumed"
    EVALUATED = "evaluated"
    ENDED = "ended"
    LOST = "lost"
    STOPPING = "stopping"
    TICK = "tick"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, for whoever shows the sweep."""

    happening: Happening
    trial: TrialRecord | None = None
    message: str = ""


@dataclass(slots=True)
class Sweep:
    """One sweep being driven. `run()` drives it and yields what happens; the caller only has to listen."""

    study: SweepStudy
    executor: Executor
    tracker: Tracker
    checkpoints: CheckpointStorage
    lease: Lease
    trials: list[TrialRecord] = field(default_factory=list)
    under_way: dict[int, TrialRecord] = field(default_factory=dict)
    waiting: deque[TrialRecord] = field(default_factory=deque)
    losses: Counter[int] = field(default_factory=Counter)
    stopping: str = ""
    """Why no further evaluation is asked for; empty while the sweep goes on."""
    elapsed_before_s: float = 0.0
    is_out_of_time: bool = False

    @property
    def is_complete(self) -> bool:
        """Tell whether every trial of the budget has ended."""
        return len(self.trials) >= self.study.trials_allowed and all(trial.state.is_final for trial in self.trials)

    def run(self) -> Iterator[Event]:
        """Train until the budget is used up or someone says stop, yielding at everything that happens.

        Raises LeaseLost where another driver took over, and BpttError where no trial can be trained at all.
        """
        spec = self.study.spec
        self.waiting.extend(trial for trial in self.trials if not trial.state.is_final)
        keeper = LeaseKeeper(self.lease, limit_s=self.seconds_left)
        with keeper:
            while True:
                self._listen(keeper)
                yield from self._fill_slots()
                if not self.under_way:
                    break
                for number, reply in self.executor.wait(timeout_s=0.25):
                    yield from self._handle(self.under_way[number], reply)
                    keeper.check()
                yield Event(Happening.TICK)
        if len(self.trials) < spec.budget.trials and self.stopping:
            yield Event(Happening.STOPPING, message=self.stopping)

    def stop(self, reason: str) -> None:
        """Ask for no further evaluation; those under way are waited for and kept."""
        self.stopping = self.stopping or reason

    @property
    def seconds_left(self) -> float:
        """Return what is left of the budget of hours; infinite where there is none."""
        hours = self.study.spec.budget.hours
        return math.inf if hours is None else hours * 3600 - self.elapsed_before_s

    def _listen(self, keeper: LeaseKeeper) -> None:
        keeper.check()
        if keeper.stop_requested.is_set():
            self.stop("stopped by `bptt stop`")
        if keeper.out_of_time.is_set() and not self.stopping:
            self.is_out_of_time = True
            self.stop(f"the budget of {self.study.spec.budget.hours:g} hours is used up")

    def _fill_slots(self) -> Iterator[Event]:
        while not self.stopping and len(self.under_way) < self.executor.slots:
            if self.waiting:
                trial = self.waiting.popleft()
                if (ended := self._decide(trial)) is not None:
                    yield ended
                    continue
            elif len(self.trials) < self.study.trials_allowed:
                trial = self.study.ask()
                self.trials.append(trial)
            else:
                return
            resume_from = trial.last.checkpoint if trial.last else None
            self.under_way[trial.number] = trial
            self.executor.start(Assignment(trial.number, trial.params, resume_from))
            self.tracker.changed(trial)
            yield Event(Happening.RESUMED if resume_from else Happening.STARTED, trial)

    def _handle(self, trial: TrialRecord, reply: Reply) -> Iterator[Event]:
        match reply:
            case Progress():
                yield from self._record(trial, reply)
            case Failure(state=TrialState.LOST):
                yield from self._take_back(trial, reply)
            case Failure():
                yield self._end(trial, reply.state, reply.reason)
            case Finished():
                yield self._end(trial, TrialState.FAILED, "the workload ended before its last evaluation")

    def _record(self, trial: TrialRecord, progress: Progress) -> Iterator[Event]:
        value = progress.metrics.get(self.study.metric)
        if value is None or not math.isfinite(value):
            yield self._end(trial, TrialState.DIVERGED, f"{self.study.metric} is {value}")
            return
        self.study.record(trial, progress)
        del self.losses[trial.number]
        ended = self._decide(trial)
        if ended is None and not self.stopping:
            self.executor.advance(trial.number)
        elif ended is None:
            self._release(trial)
        self.tracker.changed(trial)
        self._drop_old_checkpoint(trial)
        yield Event(Happening.EVALUATED, trial)
        if ended is not None:
            yield ended

    def _decide(self, trial: TrialRecord) -> Event | None:
        """End the trial if its latest evaluation is its last or not worth going on from."""
        if trial.last is None:
            return None
        evaluations = self.study.spec.budget.evaluations
        if trial.last.evaluation + 1 >= evaluations:
            return self._end(trial, TrialState.COMPLETE)
        if self.study.should_prune(trial):
            reason = f"not promising after {trial.last.evaluation + 1} of {evaluations} evaluations"
            return self._end(trial, TrialState.PRUNED, reason)
        return None

    def _end(self, trial: TrialRecord, state: TrialState, reason: str = "") -> Event:
        self._release(trial)
        self.study.tell(trial, state, reason)
        self.tracker.changed(trial)
        self._give_up_if_hopeless(trial)
        return Event(Happening.ENDED, trial, reason)

    def _release(self, trial: TrialRecord) -> None:
        if self.under_way.pop(trial.number, None) is not None:
            self.executor.release(trial.number)

    def _take_back(self, trial: TrialRecord, failure: Failure) -> Iterator[Event]:
        """Queue a trial whose worker died, to be resumed under the same number before anything new is asked."""
        self._release(trial)
        self.losses[trial.number] += 1
        if self.losses[trial.number] >= MOST_LOSSES:
            reason = f"{failure.reason}, {MOST_LOSSES} times in a row at the same evaluation"
            yield self._end(trial, TrialState.FAILED, reason)
            return
        self.waiting.appendleft(trial)
        yield Event(Happening.LOST, trial, failure.reason)

    def _give_up_if_hopeless(self, trial: TrialRecord) -> None:
        failed = [other for other in self.trials if other.state is TrialState.FAILED]
        if len(failed) >= HOPELESS and not any(other.evaluations for other in self.trials):
            raise BpttError(f"the first {len(failed)} trials all failed, the last with: {trial.reason}")

    def _drop_old_checkpoint(self, trial: TrialRecord) -> None:
        if len(trial.evaluations) > CHECKPOINTS_KEPT:
            self.checkpoints.delete(trial.evaluations[-1 - CHECKPOINTS_KEPT].checkpoint)


class LeaseKeeper:
    """Renews the lease behind the loop, and hears there who asks the sweep to stop."""

    def __init__(self, lease: Lease, *, limit_s: float) -> None:
        self.lease = lease
        self.limit_s = limit_s
        self.stop_requested = threading.Event()
        self.out_of_time = threading.Event()
        if limit_s <= 0:
            self.out_of_time.set()
        self._done = threading.Event()
        self._lost: LeaseLost | None = None
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _keep(self) -> None:
        left = self.limit_s
        while True:
            if left <= 0:
                self.out_of_time.set()
            pause = min(RENEW_EVERY_S, left) if left > 0 else RENEW_EVERY_S
            if self._done.wait(pause):
                return
            left -= pause
            try:
                if self.lease.renew():
                    self.stop_requested.set()
            except LeaseLost as error:
                self._lost = error
                return
            except SQLAlchemyError as error:
                # A database that is away for a moment is no reason to stop; one away for longer than the lease is.
                if self.lease.has_run_out():
                    self._lost = LeaseLost(f"the database could not be reached to renew the lease: {error}")
                    return

    def check(self) -> None:
        """Raise LeaseLost where the lease is gone: nothing more may be written."""
        if self._lost is not None:
            raise self._lost
