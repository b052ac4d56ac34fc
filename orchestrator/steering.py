"""Steering: users' wishes of a live sweep, judged and carried out by the driver between two things that happen."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from orchestrator.changes import check_wanted, larger, narrower
from orchestrator.database.ledger import Ledger
from orchestrator.database.wishes import Wish, WishKind, WishState, answer_wish, open_wishes
from orchestrator.errors import UserError
from orchestrator.event import Event
from orchestrator.spec import SweepSpec, trials_allowed
from orchestrator.trial import TrialRecord, TrialState
from orchestrator.wording import count
from orchestrator.wording import setting as in_words

if TYPE_CHECKING:
    from orchestrator.search.study import SweepStudy
    from orchestrator.sweep import Sweep

LOOK_EVERY_S = 2.0
STOPPED = "stopped by the user"


@dataclass(slots=True)
class Steering:
    """Reads the wishes of one sweep and carries them out. Only the driver that holds the lease may."""

    ledger: Ledger
    name: str
    owner: str
    wanted: deque[Wish] = field(default_factory=deque)
    """Settings to be tried before the sampler is asked."""
    _looked: float = -LOOK_EVERY_S
    _is_new: bool = True

    def listen(self, sweep: Sweep, *, now: bool = False) -> Iterator[Event]:
        """Carry out what is wished since the last look, which is made every two seconds, or `now`."""
        if not now and time.monotonic() - self._looked < LOOK_EVERY_S:
            return
        self._looked = time.monotonic()
        found = open_wishes(self.ledger, self.name)
        if self._is_new:
            self._is_new = False
            found = self._recognise(sweep.study, found)
        for wish in found:
            if wish.state is WishState.NEW:
                sweep.keeper.check()
                yield from self._take(sweep, wish)

    def _recognise(self, study: SweepStudy, found: list[Wish]) -> list[Wish]:
        """Take over what a driver before this one accepted; what it began without saying so is not begun twice."""
        met = study.wishes_met()
        for wish in found:
            if wish.number in met:
                self._answer(wish, WishState.DONE, begun(met[wish.number]))
            elif wish.state is WishState.ACCEPTED:
                self.wanted.append(wish)
        return [wish for wish in found if wish.number not in met]

    def _take(self, sweep: Sweep, wish: Wish) -> Iterator[Event]:
        try:
            match wish.kind:
                case WishKind.EXTEND | WishKind.NARROW:
                    self._respec(sweep, wish)
                case WishKind.ENQUEUE:
                    self._enqueue(sweep, wish)
                case WishKind.STOP:
                    yield from self._stop(sweep, wish)
                case WishKind.PIN:
                    trial = unfinished(sweep.trials, wish.content["trial"])
                    self._answer(wish, WishState.DONE, self._pin(sweep, trial))
        except UserError as error:
            self._answer(wish, WishState.REFUSED, str(error))

    def _respec(self, sweep: Sweep, wish: Wish) -> None:
        before = sweep.study.spec
        spec, answer = changed(before, wish.kind, wish.content)
        self._answer(wish, WishState.DONE, answer, spec=spec)
        sweep.respec(spec)
        more = (spec.budget.hours or 0.0) - (before.budget.hours or 0.0)
        if more:
            sweep.keeper.prolong(more * 3600)
            if sweep.is_out_of_time and not sweep.keeper.out_of_time.is_set():
                sweep.take_up()

    def _enqueue(self, sweep: Sweep, wish: Wish) -> None:
        spec = sweep.study.spec
        check_enqueued(spec, len(sweep.trials) + len(self.wanted), wish.content)
        answer = f"{in_words(wish.content['setting'])}: it begins as soon as a worker is free"
        extra = larger(spec, trials=1, hours=None) if wish.content["extra"] else None
        self.wanted.append(self._answer(wish, WishState.ACCEPTED, answer, spec=extra))
        if extra is not None:
            sweep.respec(extra)

    def _stop(self, sweep: Sweep, wish: Wish) -> Iterator[Event]:
        number = wish.content["trial"]
        # A driver may have been killed between the end of the trial and its answer.
        if not any(trial.number == number and trial.reason == STOPPED for trial in sweep.trials):
            yield sweep.end(unfinished(sweep.trials, number), TrialState.PRUNED, STOPPED)
        self._answer(wish, WishState.DONE, f"trial {number} is {STOPPED}")

    def _pin(self, sweep: Sweep, trial: TrialRecord) -> str:
        if trial.pinned:
            return f"trial {trial.number} was pinned already"
        sweep.study.pin(trial)
        if trial.state is not TrialState.PAUSED:
            return f"trial {trial.number} is not pruned any more and trained to its end"
        sweep.study.go_on(trial)
        sweep.waiting.append(trial)
        return f"trial {trial.number} goes on from its checkpoint and is trained to its end"

    def begin_wanted(self, study: SweepStudy) -> TrialRecord | None:
        """Begin the trial of the setting that was enqueued first; None where there is none."""
        while self.wanted:
            wish = self.wanted.popleft()
            try:
                setting = check_wanted(study.spec, wish.content["setting"])  # the space may be a narrower one now
            except UserError as error:
                self._answer(wish, WishState.REFUSED, str(error))
                continue
            trial = study.ask(setting, wish=wish.number)
            study.writes.flush()  # a wish that is done has its trial
            self._answer(wish, WishState.DONE, begun(trial.number))
            return trial
        return None

    def _answer(self, wish: Wish, state: WishState, answer: str, *, spec: SweepSpec | None = None) -> Wish:
        answered = replace(wish, state=state, answer=answer)
        answer_wish(self.ledger, self.name, answered, owner=self.owner, spec=spec)
        return answered


def begun(number: int) -> str:
    """Say that an enqueued setting is a trial now."""
    return f"it is trial {number}"


def changed(spec: SweepSpec, kind: WishKind, content: Mapping[str, Any]) -> tuple[SweepSpec, str]:
    """Return the spec that a wish asks for, and the answer; UserError where it cannot be."""
    if kind is WishKind.NARROW:
        spec = narrower(spec, content["space"])
        return spec, "; ".join(f"{name}: {spec.space[name].describe()}" for name in content["space"])
    spec = larger(spec, trials=content["trials"], hours=content["hours"])
    limit = "" if spec.budget.hours is None else f" and {spec.budget.hours:g} hours"
    return spec, f"{spec.name} now has {spec.budget.trials:,} trials{limit}"


def check_wish(spec: SweepSpec, trials: list[TrialRecord], kind: WishKind, content: Mapping[str, Any]) -> None:
    """Raise UserError where a wish can be seen not to be possible, whoever runs the sweep."""
    if kind in (WishKind.STOP, WishKind.PIN):
        unfinished(trials, content["trial"])
    elif kind is WishKind.ENQUEUE:
        check_enqueued(spec, len(trials), content)
    else:
        changed(spec, kind, content)


def check_enqueued(spec: SweepSpec, taken: int, content: Mapping[str, Any]) -> None:
    """Raise UserError where a setting is none of the space, or the budget has no trial left for it."""
    check_wanted(spec, content["setting"])
    if not content["extra"] and taken >= trials_allowed(spec):
        raise UserError(
            f"all {count(trials_allowed(spec), 'trial')} of {spec.name} have begun or are spoken for; "
            "--extra adds one for this setting"
        )


def unfinished(trials: list[TrialRecord], number: int) -> TrialRecord:
    """Return the trial of that number; UserError where there is none, or where nothing more can happen to it."""
    trial = next((trial for trial in trials if trial.number == number), None)
    if trial is None:
        there = f"there are 0 to {len(trials) - 1}" if trials else "there are none yet"
        raise UserError(f"--trial {number}: no such trial; {there}")
    if trial.state.is_final:
        again = "" if trial.state is TrialState.COMPLETE else "; `bptt enqueue` tries its setting anew"
        raise UserError(f"--trial {number}: it has ended already ({trial.state}){again}")
    return trial
