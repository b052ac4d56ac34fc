"""Single trials that a user stops, or has trained to their ends."""

from __future__ import annotations

import pytest

from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import read_sweep
from orchestrator.database.wishes import WishKind, WishState, add_wish
from orchestrator.event import Event, Happening
from orchestrator.executors.local import LocalExecutor
from orchestrator.settings import Settings
from orchestrator.trial import Assignment, Reply, TrialState
from tests.orchestrator.conftest import Drive, Steer, make_spec, states, swept
from tests.orchestrator.steered import answers, enqueue, of


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


def test_a_paused_trial_that_is_pinned_while_nobody_runs_the_sweep_goes_on_once(
    drive: Drive, sweep_settings: Settings
) -> None:
    spec = make_spec(
        space={"quality": {"float": [0.1, 100.0]}},
        search={"sampler": "random", "pruner": "promotion", "seed": 1},
        budget={"trials": 6, "evaluations": 9},
    )
    driver = drive(spec, until=lambda event: event.happening is Happening.PAUSED)
    number = next(trial.number for trial in swept(driver).trials if trial.state is TrialState.PAUSED)
    add_wish(Ledger(sweep_settings.study_url), "test", WishKind.PIN, {"trial": number})
    executor = Noting(2)
    driver = drive(spec, executor)
    assert swept(driver).trials[number].state is TrialState.COMPLETE
    assert executor.numbers.count(number) == 1


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
