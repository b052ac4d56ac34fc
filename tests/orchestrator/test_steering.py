"""Wishes of a live sweep: what is refused, what a kill leaves of them, and more budget."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import pytest
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from orchestrator import steering as steering_module
from orchestrator.database import patience
from orchestrator.database.ledger import Ledger
from orchestrator.database.wishes import (
    Wish,
    WishKind,
    WishState,
    add_wish,
    all_wishes,
    answer_wish,
    read_wish,
    specs_before,
)
from orchestrator.driver import Driver
from orchestrator.errors import LeaseLost
from orchestrator.event import Happening
from orchestrator.executors.local import LocalExecutor
from orchestrator.settings import Settings
from orchestrator.spec import spec_from
from orchestrator.standing import standing
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import TrialState
from tests.orchestrator.conftest import Drive, Steer, Wanted, make_spec, states, swept
from tests.orchestrator.steered import NARROW, SPACE, answers, enqueue, extend, narrow, of

AWAY = OperationalError("update", {}, Exception("server closed the connection unexpectedly"))


def test_wishes_are_numbered_in_order_by_sweep(sweep_settings: Settings) -> None:
    ledger = Ledger(sweep_settings.study_url)
    made = [add_wish(ledger, name, *extend(1)).number for name in ("a", "b", "a", "a")]
    assert made == [1, 1, 2, 3]
    assert [wish.number for wish in all_wishes(ledger, "a")] == [1, 2, 3]


def test_a_live_sweep_is_given_more_trials(steer: Steer, sweep_settings: Settings) -> None:
    driver = steer(make_spec(), [(of(2, Happening.STARTED), extend(3))], LocalExecutor(2))
    assert states(driver) == {TrialState.COMPLETE: 9}
    assert spec_from(driver.ledger.sweep("test").spec).budget.trials == 9
    assert answers(sweep_settings) == [(WishState.DONE, "test now has 9 trials")]


def test_a_wish_made_as_the_last_trial_ends_is_not_too_late(steer: Steer, sweep_settings: Settings) -> None:
    driver = steer(make_spec(), [(of(5, Happening.ENDED), extend(2))], LocalExecutor(1))
    assert states(driver) == {TrialState.COMPLETE: 8}


def test_a_wish_made_while_nobody_drives_is_carried_out_by_the_next_driver(
    drive: Drive, sweep_settings: Settings
) -> None:
    drive(make_spec())
    add_wish(Ledger(sweep_settings.study_url), "test", *extend(2))
    assert states(drive(make_spec())) == {TrialState.COMPLETE: 8}


def test_more_hours_let_a_sweep_go_on_whose_time_is_over(
    sweep_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering_module, "LOOK_EVERY_S", 0.0)
    spec = make_spec(budget={"trials": 8, "evaluations": 5, "hours": 1.0})
    driver = Driver(sweep_settings, spec, executor=LocalExecutor(3), tracker=NoTracker())
    was_stopping = False
    with driver:
        for event in driver.run():
            if event.happening is Happening.EVALUATED and not was_stopping:
                driver.keeper.out_of_time.set()
            if swept(driver).stopping and not was_stopping:
                was_stopping = True
                add_wish(driver.ledger, "test", *extend(hours=1.0))
    assert was_stopping
    assert states(driver) == {TrialState.COMPLETE: 8}
    assert driver.outcome is not None
    assert (driver.outcome.state, driver.outcome.message) == ("finished", "")


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (narrow(quality=(0.05, 0.5)), "quality: 0.05; it must be from 0.1 to 1"),
        (narrow(quality=(0.5, 0.2)), "bounds must rise"),
        (narrow(hidden_size=(12, 32)), "a number of steps of 8 above 8"),
        (narrow(hidden_size=[8, 16]), "it is a range; write hidden_size=8..64"),
        (narrow(cell_type=["mlp"]), "cell_type: mlp; it must be one of rnn, gru, lstm"),
        (narrow(cell_type=("rnn", "gru")), "it has choices"),
        (narrow(cell_type=["rnn", "gru", "lstm"]), "that is the space of test already"),
        (narrow(dropout=(0, 1)), "dropout: not in the space of test; it has quality, hidden_size, cell_type"),
        (extend(hours=1.0), "no limit of hours"),
        (extend(2_000_000), "budget.trials"),
        (enqueue(quality=2.0), "quality=2: it must be a number from 0.1 to 1"),
        (enqueue(hidden_size=12), "hidden_size=12: it must be an integer from 8 to 64"),
        (enqueue(hidden_size="many"), "hidden_size=many"),
        (enqueue(cell_type=True), "cell_type: true; it must be one of"),
        (enqueue(evaluations=3), "evaluations: fixed at 3 for all trials"),
        (enqueue(colour="red"), "colour: not in the space"),
        ((WishKind.STOP, {"trial": 77}), "--trial 77: no such trial; there are 0 to 1"),
        ((WishKind.PIN, {"trial": 77}), "--trial 77: no such trial"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line_and_changes_nothing(
    wish: Wanted, words: str, steer: Steer, sweep_settings: Settings
) -> None:
    spec = make_spec(space=SPACE, budget={"trials": 2, "evaluations": 3})
    driver = steer(spec, [(of(1, Happening.STARTED), wish)], LocalExecutor(2))
    [(state, answer)] = answers(sweep_settings)
    assert (state, "\n" in answer) == (WishState.REFUSED, False)
    assert words in answer
    assert spec_from(driver.ledger.sweep("test").spec) == spec
    assert states(driver) == {TrialState.COMPLETE: 2}


@pytest.mark.parametrize("wish", [narrow(quality=[0.1, 0.2]), enqueue(quality=0.1)])
def test_a_grid_is_neither_narrowed_nor_added_to(wish: Wanted, steer: Steer, sweep_settings: Settings) -> None:
    spec = make_spec(space={"quality": [0.1, 0.2, 0.3]}, search={"sampler": "grid"})
    driver = steer(spec, [(of(0, Happening.STARTED), wish)], LocalExecutor(1))
    assert answers(sweep_settings)[0][0] is WishState.REFUSED
    assert states(driver) == {TrialState.COMPLETE: 3}


def test_the_old_file_of_a_steered_sweep_goes_on_with_it(steer: Steer, drive: Drive) -> None:
    spec = make_spec(space=SPACE, budget={"trials": 4, "evaluations": 3})
    wishes = [(of(1, Happening.STARTED), extend(1)), (of(2, Happening.STARTED), NARROW)]
    steered = steer(spec, wishes, LocalExecutor(1))
    assert len(swept(steered).trials) == 5
    again = drive(spec)
    assert len(swept(again).trials) == 5
    assert again.spec.space == swept(steered).study.spec.space != spec.space
    assert any("budget.trials: 4 -> 5" in note for note in again.notes)


def test_a_wish_is_shown_as_it_was_typed() -> None:
    content = {"setting": {"hidden_size": 128, "cell_type": "gru"}, "extra": True}
    wish = Wish(1, WishKind.ENQUEUE, content, 0.0, WishState.NEW)
    assert wish.words == "enqueue hidden_size=128, cell_type=gru, extra: not done yet"


def test_a_wish_that_nobody_carried_out_yet_is_shown(drive: Drive, sweep_settings: Settings) -> None:
    drive(make_spec(), until=lambda event: event.happening is Happening.EVALUATED)
    ledger = Ledger(sweep_settings.study_url)
    wish = add_wish(ledger, "test", WishKind.STOP, {"trial": 0})
    seen = standing(ledger, ledger.sweep("test"))
    assert seen.wanted == ["stop trial 0: not done yet"]
    assert [entry["wish"] for entry in seen.plain()["wishes"]] == [wish.number]
    assert read_wish(ledger, "test", wish.number).state is WishState.NEW


@pytest.mark.parametrize("is_committed", [False, True])
def test_wishes_are_carried_out_once_by_a_driver_whose_database_is_away_now_and_then(
    is_committed: bool, steer: Steer, sweep_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second transaction breaks: before it begins, or when it has ended and nobody knows."""
    held, breaks = Ledger.held, itertools.cycle([True, False])

    @contextlib.contextmanager
    def break_off(ledger: Ledger, name: str, owner: str) -> Iterator[Connection]:
        is_broken = next(breaks)
        if is_broken and not is_committed:
            raise AWAY
        with held(ledger, name, owner) as connection:
            yield connection
        if is_broken:
            raise AWAY

    monkeypatch.setattr(Ledger, "held", break_off)
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.001)
    wishes = [
        (of(1, Happening.STARTED), extend(1)),
        (of(2, Happening.STARTED), enqueue(True, quality=0.4)),
        (of(3, Happening.STARTED), (WishKind.STOP, {"trial": 77})),
    ]
    driver = steer(make_spec(), wishes, LocalExecutor(1))
    assert states(driver) == {TrialState.COMPLETE: 8}
    assert [trial.chosen["quality"] for trial in swept(driver).trials].count(0.4) == 1
    assert [state for state, _ in answers(sweep_settings)] == [WishState.DONE, WishState.DONE, WishState.REFUSED]
    assert [before["budget"]["trials"] for before in specs_before(driver.ledger, "test")] == [6, 7]


def test_a_driver_that_lost_its_lease_answers_nothing(sweep_settings: Settings) -> None:

    ledger = Ledger(sweep_settings.study_url)
    ledger.create("test", make_spec().plain())
    wish = add_wish(ledger, "test", *extend(2))
    larger, _ = steering_module.changed(make_spec(), *extend(2))
    with pytest.raises(LeaseLost):
        answer_wish(ledger, "test", wish, owner="a driver of yesterday", spec=larger)
    assert spec_from(ledger.sweep("test").spec) == make_spec()
