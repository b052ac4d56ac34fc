"""Wishes of a live sweep: what each does, what is refused, and what a kill leaves of it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from orchestrator import patience
from orchestrator import steering as steering_module
from orchestrator.driver import Driver, claim
from orchestrator.errors import LeaseLost
from orchestrator.executors.base import Executor
from orchestrator.executors.local import LocalExecutor
from orchestrator.lease import Lease
from orchestrator.ledger import Ledger
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, spec_from
from orchestrator.standing import standing
from orchestrator.study import SweepStudy, load_study, read_sweep
from orchestrator.sweep import Event, Happening
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import Assignment, Reply, TrialRecord, TrialState
from orchestrator.wishes import WishKind, WishState, add_wish, all_wishes, answer_wish, read_wish, specs_before
from tests.fakes import Scripted
from tests.orchestrator.conftest import Drive, make_spec, states, swept
from workloads.protocol import Params, Progress

Wanted = tuple[WishKind, Mapping[str, Any]]
Steer = Callable[..., Driver]

AWAY = OperationalError("update", {}, Exception("server closed the connection unexpectedly"))


@pytest.fixture
def steer(sweep_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Steer:
    """Return a function that drives a sweep to its end, each wish made at the event that its key says yes to."""
    monkeypatch.setattr(steering_module, "LOOK_EVERY_S", 0.0)

    def run(spec: SweepSpec, wishes: list[tuple[Callable[[Event], bool], Wanted]], executor: Executor) -> Driver:
        driver = Driver(sweep_settings, spec, executor=executor, tracker=NoTracker())
        left = list(wishes)
        with driver:
            for event in driver.run():
                for entry in [entry for entry in left if entry[0](event)]:
                    left.remove(entry)
                    add_wish(driver.ledger, spec.name, *entry[1])
        assert not left, "a wish was never made"
        return driver

    return run


def answers(settings: Settings) -> list[tuple[WishState, str]]:
    return [(wish.state, wish.answer) for wish in all_wishes(Ledger(settings.study_url), "test")]


def of(number: int, happening: Happening, evaluations: int | None = None) -> Callable[[Event], bool]:
    """Return whether an event is this one of this trial."""

    def is_it(event: Event) -> bool:
        trial = event.trial
        reached = evaluations is None or (trial is not None and len(trial.evaluations) == evaluations)
        return event.happening is happening and trial is not None and trial.number == number and reached

    return is_it


def extend(trials: int = 0, hours: float | None = None) -> Wanted:
    return WishKind.EXTEND, {"trials": trials, "hours": hours}


def narrow(**space: Any) -> Wanted:
    return WishKind.NARROW, {
        "space": {
            name: {"range": list(given)} if isinstance(given, tuple) else {"choice": given}
            for name, given in space.items()
        }
    }


def enqueue(extra: bool = False, **setting: Any) -> Wanted:
    return WishKind.ENQUEUE, {"setting": setting, "extra": extra}


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


SPACE: dict[str, Any] = {
    "quality": {"float": [0.1, 1.0], "log": True},
    "hidden_size": {"int": [8, 64], "step": 8},
    "cell_type": ["rnn", "gru", "lstm"],
}
NARROW = narrow(quality=(0.2, 0.5), hidden_size=(16, 32), cell_type=["lstm", "gru"])


def is_inside(trial: TrialRecord) -> bool:
    chosen = trial.chosen
    return 0.2 <= chosen["quality"] <= 0.5 and 16 <= chosen["hidden_size"] <= 32 and chosen["cell_type"] != "rnn"


@pytest.mark.parametrize("pruner", ["median", "promotion", "hyperband"])
@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "cmaes"])
def test_every_sampler_stays_in_a_narrowed_space(
    sampler: str, pruner: str, steer: Steer, sweep_settings: Settings
) -> None:
    spec = make_spec(
        space=SPACE,
        search={"sampler": sampler, "pruner": pruner, "seed": 1},
        budget={"trials": 30, "evaluations": 3},
    )
    driver = steer(spec, [(of(12, Happening.EVALUATED, 1), NARROW)], LocalExecutor(2))
    trials = swept(driver).trials
    assert not all(is_inside(trial) for trial in trials[:13])
    assert all(is_inside(trial) for trial in trials[15:])
    assert len({tuple(trial.chosen.items()) for trial in trials[15:]}) > 5
    assert all(trial.state.is_final for trial in trials)
    [(state, answer)] = answers(sweep_settings)
    assert state is WishState.DONE
    assert "hidden_size: integer from 16 to 32, step 8" in answer
    told = load_study(driver.ledger, "test").trials
    assert all(told[trial.number].params == trial.chosen for trial in trials)


@pytest.mark.parametrize("sampler", ["tpe", "qmc", "gp", "cmaes"])
def test_samplers_learn_from_old_trials_inside_a_narrowed_space_together_with_new_ones(
    sampler: str, sweep_settings: Settings
) -> None:
    """Optuna drops a parameter whose range was not always the same from what it learns, and draws it at random."""
    spec = make_spec(space=SPACE, search={"sampler": sampler}, budget={"trials": 99})
    ledger = Ledger(sweep_settings.study_url)
    lease = Lease(ledger, "test")
    claim(ledger, spec, lease)
    study = SweepStudy(ledger, spec, lease.owner)
    for _ in range(25):
        trial = study.ask()
        study.record(trial, Progress(0, 1, {"valid_loss": trial.chosen["quality"]}, "x", 1.0))
        study.tell(trial, TrialState.COMPLETE)
    narrowed, _ = steering_module.changed(spec, *NARROW)
    study.respec(narrowed)
    for _ in range(6):
        trial = study.ask()
        assert is_inside(trial)
        study.record(trial, Progress(0, 1, {"valid_loss": trial.chosen["quality"]}, "x", 1.0))
        study.tell(trial, TrialState.COMPLETE)
        with study._memory.asked():
            frozen = study._memory.get_all_trials(study._memory_study)[-1]
            known = study.study.sampler.infer_relative_search_space(study.study, frozen)
        names = {"quality", "hidden_size"} | ({"cell_type"} if sampler != "cmaes" else set())  # it knows no choices
        assert set(known) == names
        assert known == {name: narrowed.space[name].distribution() for name in names}
    # The next driver, which has the trials from the database alone, sees and asks the same.
    again = SweepStudy(ledger, narrowed, lease.owner)
    again.records()
    assert again.ask().chosen == study.ask().chosen


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
        (enqueue(quality=2.0), "quality=2: it must be number from 0.1 to 1"),
        (enqueue(hidden_size=12), "hidden_size=12: it must be integer from 8 to 64"),
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


def test_a_parameter_whose_condition_can_no_longer_be_met_leaves_the_space(steer: Steer) -> None:
    space = {
        "fate": ["none", "nothing", "naught"],
        "quality": {"float": [0.1, 1.0], "when": {"fate": ["none", "nothing"]}},
        "hidden_size": {"int": [1, 9], "when": {"fate": ["naught"]}},
    }
    spec = make_spec(space=space, search={"sampler": "tpe"}, budget={"trials": 24, "evaluations": 2})
    wish = narrow(fate=["nothing"])
    driver = steer(spec, [(of(11, Happening.ENDED), wish)], LocalExecutor(1))
    after = spec_from(driver.ledger.sweep("test").spec)
    assert set(after.space) == {"fate", "quality"}
    assert all(set(trial.chosen) == {"fate", "quality"} for trial in swept(driver).trials[13:])


def test_a_setting_is_tried_next_and_what_it_leaves_open_is_sampled(steer: Steer, sweep_settings: Settings) -> None:
    spec = make_spec(space=SPACE, search={"sampler": "tpe", "pruner": "none"}, budget={"trials": 5, "evaluations": 3})
    whole = enqueue(quality=0.25, hidden_size=24, cell_type="gru")
    part = enqueue(extra=True, cell_type="lstm")
    driver = steer(spec, [(of(1, Happening.STARTED), whole), (of(1, Happening.STARTED), part)], LocalExecutor(2))
    trials = swept(driver).trials
    assert states(driver) == {TrialState.COMPLETE: 6}  # one of the budget, one beyond it
    assert trials[2].chosen == {"quality": 0.25, "hidden_size": 24, "cell_type": "gru"}
    assert trials[3].chosen["cell_type"] == "lstm"
    assert set(trials[3].chosen) == set(SPACE)
    assert answers(sweep_settings) == [(WishState.DONE, "it is trial 2"), (WishState.DONE, "it is trial 3")]


def test_a_setting_beyond_the_budget_is_refused_but_for_an_extra_one(steer: Steer, sweep_settings: Settings) -> None:
    spec = make_spec(budget={"trials": 3, "evaluations": 3})
    wishes = [
        (of(2, Happening.STARTED), enqueue(quality=0.5)),
        (of(2, Happening.EVALUATED, 1), enqueue(True, quality=0.4)),
    ]
    driver = steer(spec, wishes, LocalExecutor(1))
    assert [trial.chosen["quality"] for trial in swept(driver).trials[3:]] == [0.4]
    refused, done = answers(sweep_settings)
    assert refused[0] is WishState.REFUSED
    assert "all 3 trials of test have begun or are spoken for; --extra adds one" in refused[1]
    assert done == (WishState.DONE, "it is trial 3")


def test_an_enqueued_setting_with_an_unmet_condition_is_refused(steer: Steer, sweep_settings: Settings) -> None:
    space = {"fate": ["none", "nothing"], "quality": {"float": [0.1, 1.0], "when": {"fate": ["none"]}}}
    steer(make_spec(space=space), [(of(0, Happening.STARTED), enqueue(quality=0.5))], LocalExecutor(1))
    assert "quality: it exists when fate is none; set that too" in answers(sweep_settings)[0][1]


def test_what_the_workload_cannot_train_is_not_enqueued(steer: Steer, sweep_settings: Settings) -> None:
    spec = make_spec(workload={"kind": f"{__name__}:Picky"}, space={"quality": {"float": [0.0, 100.0]}})
    steer(spec, [(of(0, Happening.STARTED), enqueue(quality=13.0))], LocalExecutor(1))
    assert answers(sweep_settings) == [(WishState.REFUSED, "train.quality: 13.0 brings bad luck")]


def test_an_enqueued_setting_is_begun_once_whenever_the_driver_dies(
    sweep_settings: Settings, drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Died between the trial and the answer: the trial in the database says by which wish it came."""
    spec = make_spec(search={"sampler": "tpe", "pruner": "none"})
    drive(spec, until=lambda event: event.happening is Happening.EVALUATED)
    ledger = Ledger(sweep_settings.study_url)
    add_wish(ledger, "test", *enqueue(quality=0.123))

    class Killed(BaseException):
        pass

    answer = steering_module.answer_wish

    def die(ledger: Ledger, sweep: str, wish: Any, **rest: Any) -> None:
        if wish.state is WishState.DONE:
            raise Killed
        answer(ledger, sweep, wish, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(steering_module, "answer_wish", die)
        with pytest.raises(Killed):
            drive(spec)
    driver = drive(spec)
    asked_for = [trial.number for trial in swept(driver).trials if trial.chosen["quality"] == 0.123]
    assert len(asked_for) == 1
    assert states(driver) == {TrialState.COMPLETE: 6}
    assert answers(sweep_settings) == [(WishState.DONE, f"it is trial {asked_for[0]}")]


class Hanging(LocalExecutor):
    """Never answers for trial 0: it is in the middle of a very long evaluation."""

    def wait(self, timeout_s: float) -> list[tuple[int, Reply]]:
        if self._asked and self._asked[0][0] == 0:
            self._asked.rotate(-1)
            if self._asked[0][0] == 0:
                return []
        return super().wait(timeout_s)


def test_one_trial_is_stopped_in_the_middle_of_an_evaluation_and_its_worker_takes_another(
    steer: Steer, sweep_settings: Settings
) -> None:
    driver = steer(make_spec(), [(of(5, Happening.ENDED), (WishKind.STOP, {"trial": 0}))], Hanging(2))
    assert states(driver) == {TrialState.COMPLETE: 5, TrialState.PRUNED: 1}
    assert swept(driver).trials[0].reason == "stopped by the user"
    assert answers(sweep_settings) == [(WishState.DONE, "trial 0 is stopped by the user")]
    _, read = read_sweep(driver.ledger, "test")
    assert (read[0].state, read[0].reason) == (TrialState.PRUNED, "stopped by the user")


def test_a_trial_that_waits_is_stopped_without_being_taken_up(drive: Drive, sweep_settings: Settings) -> None:
    drive(make_spec(), until=lambda event: event.happening is Happening.EVALUATED)
    add_wish(Ledger(sweep_settings.study_url), "test", WishKind.STOP, {"trial": 0})
    executor = Noting(2)
    driver = drive(make_spec(), executor)
    assert swept(driver).trials[0].state is TrialState.PRUNED
    assert 0 not in executor.numbers


class Noting(LocalExecutor):
    """Notes which trials it was given."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self.numbers: list[int] = []

    def start(self, assignment: Assignment) -> None:
        self.numbers.append(assignment.number)
        super().start(assignment)


@pytest.mark.parametrize("pruner", ["median", "successive_halving", "promotion"])
def test_a_pinned_trial_is_trained_to_its_end_whatever_the_pruner_says(
    pruner: str, steer: Steer, sweep_settings: Settings
) -> None:
    spec = make_spec(
        space={"quality": {"float": [0.1, 100.0]}},
        search={"sampler": "random", "pruner": pruner, "seed": 1},
        budget={"trials": 12, "evaluations": 9},
    )
    hopeless = enqueue(quality=99.9)
    free = steer(spec.model_copy(update={"name": "free"}), [(of(8, Happening.STARTED), hopeless)], LocalExecutor(1))
    [bad] = [trial for trial in swept(free).trials if trial.chosen["quality"] == 99.9]
    assert bad.state is TrialState.PRUNED
    pin = (WishKind.PIN, {"trial": bad.number})
    wishes = [(of(8, Happening.STARTED), hopeless), (of(bad.number, Happening.STARTED), pin)]
    driver = steer(spec, wishes, LocalExecutor(2))  # the other trial is evaluated first, and then the wish is read
    assert swept(driver).trials[bad.number].state is TrialState.COMPLETE
    assert states(driver)[TrialState.PRUNED] > 0
    assert answers(sweep_settings)[1][0] is WishState.DONE


def test_a_paused_trial_that_is_pinned_goes_on_from_its_checkpoint(steer: Steer, sweep_settings: Settings) -> None:
    spec = make_spec(
        space={"quality": {"float": [0.1, 100.0]}},
        search={"sampler": "random", "pruner": "promotion", "seed": 1},
        budget={"trials": 9, "evaluations": 9},
    )
    executor = Resuming(1)
    driver = steer(spec, [(of(1, Happening.PAUSED), (WishKind.PIN, {"trial": 1}))], executor)
    assert swept(driver).trials[1].state is TrialState.COMPLETE
    assert 1 in executor.resumed
    assert [progress.evaluation for progress in swept(driver).trials[1].evaluations] == list(range(9))
    assert answers(sweep_settings) == [
        (WishState.DONE, "trial 1 goes on from its checkpoint and is trained to its end")
    ]


class Resuming(LocalExecutor):
    """Notes which trials it was given with a checkpoint."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self.resumed: list[int] = []

    def start(self, assignment: Assignment) -> None:
        if assignment.resume_from:
            self.resumed.append(assignment.number)
        super().start(assignment)


def test_a_pin_outlives_the_driver(drive: Drive, sweep_settings: Settings) -> None:
    search = {"sampler": "random", "pruner": "median", "seed": 1}
    spec = make_spec(space={"quality": {"float": [0.1, 100.0]}}, search=search, budget={"trials": 12, "evaluations": 9})
    whole = drive(spec.model_copy(update={"name": "whole"}), LocalExecutor(1))
    number = next(trial.number for trial in swept(whole).trials if trial.state is TrialState.PRUNED)

    def begins(event: Event) -> bool:
        if of(number, Happening.STARTED)(event):
            raise RuntimeError("a driver that breaks down")
        return False

    with pytest.raises(RuntimeError, match="breaks down"):
        drive(spec, LocalExecutor(1), until=begins)
    add_wish(Ledger(sweep_settings.study_url), "test", WishKind.PIN, {"trial": number})
    drive(spec, LocalExecutor(1), until=of(number, Happening.EVALUATED, 2))
    driver = drive(spec, LocalExecutor(1))
    assert answers(sweep_settings)[0][0] is WishState.DONE
    assert swept(driver).trials[number].pinned
    assert swept(driver).trials[number].state is TrialState.COMPLETE


def test_what_has_ended_can_neither_be_stopped_nor_pinned(steer: Steer, sweep_settings: Settings) -> None:
    wishes = [(of(0, Happening.ENDED), (kind, {"trial": 0})) for kind in (WishKind.STOP, WishKind.PIN)]
    steer(make_spec(), wishes, LocalExecutor(1))
    assert answers(sweep_settings) == [(WishState.REFUSED, "--trial 0: it has ended already (complete)")] * 2


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


class Picky(Scripted):
    """Does not train what lies at 13."""

    def check(self, params: Params) -> None:
        if params.get("quality") == 13.0:
            raise ValueError("train.quality: 13.0 brings bad luck")
