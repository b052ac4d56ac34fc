"""The sweep loop. Read this first: everything else serves it.

    ask -> start -> (Progress: record, prune or advance) ... -> tell -> ask ...

The driver pulls: a worker trains to its next evaluation only when asked, so to prune a trial is not to ask again. The
database is the truth: an evaluation counts once it is recorded there, and whatever dies, the sweep is taken up from
there. Ray is disposable, MLflow is a view.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, starmap
from typing import TYPE_CHECKING

from orchestrator.checkpoints.places import Places
from orchestrator.checkpoints.retention import Retention
from orchestrator.checkpoints.storage import CheckpointStorage
from orchestrator.database.lease import LeaseKeeper
from orchestrator.database.stints import Stints
from orchestrator.errors import BpttError, LeaseLost, Unreachable
from orchestrator.event import Event, Happening
from orchestrator.executors.base import Executor
from orchestrator.room import Room
from orchestrator.search.promotion import Promotion
from orchestrator.search.study import SweepStudy
from orchestrator.spec import SweepSpec
from orchestrator.steering import Steering
from orchestrator.tracking.base import Tracker
from orchestrator.trial import (
    Assignment,
    CheckpointLost,
    Failure,
    Finished,
    Moved,
    Reply,
    StorageFault,
    TrialRecord,
    TrialState,
)
from workloads.protocol import Progress

if TYPE_CHECKING:
    from orchestrator.search.curves import Curves

MOST_LOSSES = 3
"""Workers that may die on one trial before it makes an evaluation; after that it is told as failed."""
HOPELESS_START, HOPELESS_ROW = 5, 10
"""Trials that may fail at the start of a sweep in which nothing was ever evaluated, and in a row at any time."""


@dataclass(slots=True)
class Sweep:
    """One sweep being driven. `run()` drives it and yields what happens; the caller only has to listen."""

    study: SweepStudy
    executor: Executor
    tracker: Tracker
    checkpoints: CheckpointStorage
    keeper: LeaseKeeper
    steering: Steering
    retention: Retention
    stints: Stints
    room: Room = field(default_factory=Room)
    """The memory that trials share: one that can never fit is told so and not started, and one that does not fit beside
    those under way waits."""
    trials: list[TrialRecord] = field(default_factory=list)
    under_way: dict[int, TrialRecord] = field(default_factory=dict)
    waiting: deque[TrialRecord] = field(default_factory=deque)
    losses: Counter[int] = field(default_factory=Counter)
    places: Places = field(init=False)
    """Where trials go on."""
    promotion: Promotion | Curves = field(init=False)
    """Who is paused and who goes on again; with a pruner that ends trials instead, nobody."""
    stopping: str = ""
    """Why no further evaluation is asked for; empty while the sweep goes on."""
    is_out_of_time: bool = False
    _failed_in_a_row: int = 0
    _waits_for: str = ""

    def __post_init__(self) -> None:
        """Begin with every trial at its latest evaluation."""
        self.places = Places(self.checkpoints)
        self._judge_by(self.study.spec)

    def respec(self, spec: SweepSpec) -> None:
        """Go on by a changed spec, as a driver would that begins with it."""
        self.study.respec(spec)
        self._judge_by(spec)

    def _judge_by(self, spec: SweepSpec) -> None:
        if spec.search.pruner == "curves":
            # Optuna and scipy come with it: who only looks at a sweep does without.
            from orchestrator.search.curves import Curves

            self.promotion = Curves.of(spec)
        else:
            self.promotion = Promotion.of(spec)

    @property
    def is_complete(self) -> bool:
        """Tell whether every trial of the budget has ended."""
        return len(self.trials) >= self.study.trials_allowed and all(trial.state.is_final for trial in self.trials)

    def run(self) -> Iterator[Event]:
        """Train until the budget is used up or someone says stop, yielding at everything that happens.

        Raises LeaseLost where another driver took over, and BpttError where no trial can be trained at all.
        """
        self.retention.begin(self.trials)
        self.waiting.clear()  # a wish carried out before this may have queued one of those below
        for trial in [trial for trial in self.trials if not trial.state.is_final]:
            if trial.state is TrialState.PAUSED and not trial.pinned:
                self.study.pause(trial)
                continue
            # A driver may have been killed between an evaluation and what followed from it.
            trial.state = TrialState.RUNNING
            if (ended := self._decide(trial)) is not None:
                yield ended
            else:
                self.waiting.append(trial)
        while True:
            self._listen()
            yield from self.steering.listen(self, now=not self.under_way)
            yield from self._together(chain(self._fill_slots(), self._end_paused()))
            if not self.under_way and (self.stopping or self.is_complete):
                self.places.drop_part_way()  # nobody else will know of it
                return
            answers = [(self.under_way[number], reply) for number, reply in self.executor.wait(timeout_s=0.25)]
            if answers:
                self.keeper.check()  # before anything is written
                self._acknowledge(answers)
                yield from self._together(chain.from_iterable(starmap(self._handle, answers)))
            yield from self._tell_of_waiting()
            yield Event(Happening.TICK)

    def _together(self, happening: Iterator[Event]) -> Iterator[Event]:
        """Let things happen, write down all of them in one transaction, and then tell of them."""
        happened: list[Event] = []
        try:
            with self.study.writes.together():
                happened.extend(happening)
        except LeaseLost:
            raise
        except BpttError:
            yield from happened
            raise
        yield from happened

    def _tell_of_waiting(self) -> Iterator[Event]:
        before, self._waits_for = self._waits_for, self.executor.waits_for
        if self._waits_for and self._waits_for != before:
            yield Event(Happening.WAITING, message=self._waits_for)

    def stop(self, reason: str) -> None:
        """Ask for no further evaluation; those under way are waited for and kept."""
        self.stopping = self.stopping or reason

    def _listen(self) -> None:
        keeper = self.keeper
        keeper.check()
        if keeper.stop_requested.is_set():
            self.stop("stopped by `bptt stop`")
        if keeper.out_of_time.is_set() and not self.stopping:
            self.is_out_of_time = True
            self.stop(f"the budget of {self.study.spec.budget.hours:g} hours is used up")

    def _fill_slots(self) -> Iterator[Event]:
        while not self.stopping and len(self.under_way) < self.executor.slots:
            trial = self._next()
            if trial is None:
                return
            if not trial.evaluations and (reason := self.room.refuses(trial.params)):
                yield self._end(trial, TrialState.OUT_OF_MEMORY, reason)
                continue
            if not self._has_room(trial):
                self.waiting.appendleft(trial)
                return
            resume_from = self.places.checkpoint(trial)
            self.under_way[trial.number] = trial
            self.executor.start(Assignment(trial.number, trial.params, resume_from))
            self.stints.begin(trial.number, self.executor.worker_of(trial.number))
            self._show(trial)
            yield Event(Happening.RESUMED if resume_from else Happening.STARTED, trial)

    def _next(self) -> TrialRecord | None:
        """Choose what is trained next: what was begun, what the user wants, what is promoted, what is new, or spare."""
        if self.waiting:
            return self.waiting.popleft()
        may_begin = len(self.trials) < self.study.trials_allowed
        if may_begin and (wanted := self.steering.begin_wanted(self.study)) is not None:
            self.trials.append(wanted)
            return wanted
        if (promoted := self.promotion.next(self.trials)) is not None:
            self.study.go_on(promoted)
            return promoted
        if may_begin:
            self.trials.append(self.study.ask())
            return self.trials[-1]
        return self._spare()

    def _spare(self) -> TrialRecord | None:
        """Choose what a worker trains that would be idle while others train the last trials; mostly nothing."""
        spare = self.promotion.spare(self.trials, self.under_way.values())
        if spare is None or not self._has_room(spare):
            return None
        spare.is_spare = True
        self.study.go_on(spare)
        return spare

    def _has_room(self, trial: TrialRecord) -> bool:
        """Tell whether a trial's memory fits beside those under way."""
        return self.room.admits(trial.params, [other.params for other in self.under_way.values()])

    def _end_paused(self) -> Iterator[Event]:
        """End the trials that wait for a promotion which can no longer come, but for one if none is complete."""
        may_begin = len(self.trials) < self.study.trials_allowed
        if self.under_way or self.waiting or self.stopping or may_begin or self.promotion.next(self.trials):
            return
        is_any_complete = any(trial.state is TrialState.COMPLETE for trial in self.trials)
        if not is_any_complete and (best := self.promotion.last_resort(self.trials)) is not None:
            self.study.go_on(best)
            self.waiting.append(best)
            return
        for trial in [trial for trial in self.trials if trial.state is TrialState.PAUSED]:
            yield self._end(
                trial, TrialState.PRUNED, f"{self.promotion.leaves(trial, self.trials)} after {self._reached(trial)}"
            )

    def _reached(self, trial: TrialRecord) -> str:
        return f"{len(trial.evaluations)} of {self.study.spec.budget.evaluations} evaluations"

    def end(self, trial: TrialRecord, state: TrialState, reason: str) -> Event:
        """End a trial wherever it stands, in the middle of an evaluation too; its worker is free at once."""
        self.waiting = deque(other for other in self.waiting if other is not trial)
        return self._end(trial, state, reason)

    def take_up(self) -> None:
        """Let every trial go on that is neither under way nor paused, after a reason to stop that holds no more."""
        self.stopping, self.is_out_of_time = "", False
        known = {*self.under_way, *(trial.number for trial in self.waiting)}
        for trial in self.trials:
            if trial.state is TrialState.RUNNING and trial.number not in known:
                self.waiting.append(trial)

    def _handle(self, trial: TrialRecord, reply: Reply) -> Iterator[Event]:
        match reply:
            case Progress():
                yield from self._record(trial, reply)
            case Failure(state=TrialState.LOST):
                yield from self._take_back(trial, reply)
            case Moved():
                yield self._move(trial, reply)
            case StorageFault():
                # The trial stays as it is, to be taken up when the storage is well again.
                raise Unreachable(f"checkpoints: {reply.reason}; nothing is lost: mend it and run the sweep again")
            case CheckpointLost():
                yield self._rewind(trial, reply)
            case Failure():
                yield self._end(trial, reply.state, reply.reason, traceback=reply.traceback)
            case Finished():
                yield self._end(trial, TrialState.FAILED, "the workload ended before its last evaluation")

    def _acknowledge(self, answers: Sequence[tuple[TrialRecord, Reply]]) -> None:
        """Write down the evaluations among the answers, all in one transaction, before anything follows from them."""
        made = [
            (trial, reply)
            for trial, reply in answers
            if isinstance(reply, Progress) and self._fault(trial, reply) is None and not self._is_known(trial, reply)
        ]
        self.study.acknowledge(made)

    def _fault(self, trial: TrialRecord, progress: Progress) -> tuple[TrialState, str] | None:
        """Return how and why a trial ends by an evaluation that cannot count."""
        due = self.places.due(trial)
        if progress.evaluation != due:
            reason = f"the workload gave evaluation {progress.evaluation} where {due} was due"
            return TrialState.FAILED, f"{reason}; does it go on from resume_from?"
        if self._is_known(trial, progress):
            return None
        value = progress.metrics.get(self.study.metric)
        if value is None or not math.isfinite(value):
            return TrialState.DIVERGED, f"{self.study.metric} is {value}"
        lacking = self.study.lacking(progress)
        return (TrialState.FAILED, lacking) if lacking else None

    def _is_known(self, trial: TrialRecord, progress: Progress) -> bool:
        """Tell whether an evaluation was acknowledged before and had to be trained again."""
        return progress.evaluation < len(trial.evaluations)

    def _record(self, trial: TrialRecord, progress: Progress) -> Iterator[Event]:
        """Go on from an evaluation, which is acknowledged by now if it counts."""
        if (fault := self._fault(trial, progress)) is not None:
            yield self._end(trial, *fault)
            return
        if self._is_known(trial, progress):
            yield from self._catch_up(trial, progress)
            return
        self.study.take(trial, progress)
        self.places.drop_part_way(trial)
        del self.losses[trial.number]
        ended = self._decide(trial)
        if ended is None and not self.stopping:
            self.executor.advance(trial.number)
        elif ended is None:
            self._release(trial, "stopped")
        self._show(trial)
        self.places.drop_old(trial)
        yield Event(Happening.EVALUATED, trial)
        if ended is not None:
            yield ended

    def _decide(self, trial: TrialRecord) -> Event | None:
        """End or pause the trial if its latest evaluation is its last or not worth going on from."""
        if trial.last is None:
            return None
        if trial.last.evaluation + 1 >= self.study.spec.budget.evaluations:
            return self._end(trial, TrialState.COMPLETE)
        if (why := self.study.why_prune(trial)) and not trial.pinned:
            return self._end(trial, TrialState.PRUNED, why)
        if why := self.promotion.pauses(trial, self.trials):
            self._release(trial, TrialState.PAUSED)
            self.study.pause(trial)
            return Event(Happening.PAUSED, trial, f"{why} after {self._reached(trial)}")
        return None

    def _end(self, trial: TrialRecord, state: TrialState, reason: str = "", *, traceback: str = "") -> Event:
        self._release(trial, state)
        self.places.drop_part_way(trial)
        self.study.tell(trial, state, reason, traceback=traceback)
        self.study.writes.after(lambda: self.retention.ended(trial))
        self._show(trial)
        self._give_up_if_hopeless(trial)
        return Event(Happening.ENDED, trial, reason)

    def _show(self, trial: TrialRecord) -> None:
        """Let the tracker show a trial as it stands, once it stands so in the database."""
        self.study.writes.after(lambda: self.tracker.changed(trial))

    def _release(self, trial: TrialRecord, how: str) -> None:
        if self.under_way.pop(trial.number, None) is not None:
            self.executor.release(trial.number)
            self.stints.end(trial.number, how)

    def _queue(self, trial: TrialRecord) -> None:
        """Queue a trial to go on before all others; one that went on to fill an idle worker, behind them."""
        (self.waiting.append if trial.is_spare else self.waiting.appendleft)(trial)

    def _take_back(self, trial: TrialRecord, failure: Failure) -> Iterator[Event]:
        """Queue a trial whose worker died, to be resumed under the same number before anything new is asked."""
        self._release(trial, TrialState.LOST)
        self.losses[trial.number] += 1
        if self.losses[trial.number] >= MOST_LOSSES:
            reason = f"{failure.reason}, {MOST_LOSSES} times in a row at the same evaluation"
            yield self._end(trial, TrialState.FAILED, reason)
            return
        self._queue(trial)
        yield Event(Happening.LOST, trial, failure.reason)

    def _move(self, trial: TrialRecord, moved: Moved) -> Event:
        """Queue a trial whose machine is about to go; it goes on in the middle of its interval."""
        self._release(trial, Happening.MOVED)
        self.places.move(trial, moved.checkpoint)
        self._queue(trial)
        return Event(Happening.MOVED, trial, "its machine is about to go")

    def _rewind(self, trial: TrialRecord, lost: CheckpointLost) -> Event:
        """Queue a trial to be resumed from the checkpoint before the one that is lost, or else from the beginning."""
        self._release(trial, "rewound")
        back = self.places.step_back(trial)
        if back is None:
            return self._end(trial, TrialState.FAILED, lost.reason)
        self._queue(trial)
        return Event(Happening.LOST, trial, lost.reason + back)

    def _catch_up(self, trial: TrialRecord, progress: Progress) -> Iterator[Event]:
        """Take the checkpoint of an evaluation that was acknowledged before; what was measured then stays."""
        lost = trial.evaluations[progress.evaluation].checkpoint
        self.study.repoint(trial, progress)
        self.places.caught_up(trial, progress, lost)
        del self.losses[trial.number]
        if self.stopping:
            self._release(trial, "stopped")
        else:
            self.executor.advance(trial.number)
        yield Event(Happening.TICK)

    def _give_up_if_hopeless(self, trial: TrialRecord) -> None:
        self._failed_in_a_row = self._failed_in_a_row + 1 if trial.state is TrialState.FAILED else 0
        allowed = HOPELESS_ROW if any(other.evaluations for other in self.trials) else HOPELESS_START
        if self._failed_in_a_row >= allowed:
            raise BpttError(f"{allowed} trials in a row failed, the last with: {trial.reason}")
