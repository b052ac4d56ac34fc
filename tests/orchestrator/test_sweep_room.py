"""The loop in the memory that there is: what is never started, and what waits."""

from __future__ import annotations

from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import load_study
from orchestrator.driver import Driver
from orchestrator.event import Happening
from orchestrator.executors.local import LocalExecutor
from orchestrator.room import Room
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import Assignment, TrialState
from tests.orchestrator.conftest import Drive, make_spec, states, swept


class Counting(LocalExecutor):
    """Notes which trials are under way together."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self.qualities: dict[int, float] = {}
        self.together: list[float] = []

    def start(self, assignment: Assignment) -> None:
        super().start(assignment)
        self.qualities[assignment.number] = assignment.params["quality"]
        self.together.append(sum(self.qualities.values()))

    def release(self, number: int) -> None:
        super().release(number)
        self.qualities.pop(number, None)


def drive_in(room: Room, spec: SweepSpec, settings: Settings, executor: LocalExecutor) -> Driver:
    """Drive with this room, whatever the workload says of its sizes."""
    driver = Driver(settings, spec, executor=executor, tracker=NoTracker())
    with driver:
        swept(driver).room = room
        for _ in driver.run():
            pass
    return driver


def test_what_can_never_fit_is_told_infeasible_without_a_start_and_counts_as_a_trial(sweep_settings: Settings) -> None:
    spec = make_spec(budget={"trials": 12, "evaluations": 2})
    executor = Counting(2)
    driver = drive_in(Room(lambda params: params["quality"], 0.6), spec, sweep_settings, executor)
    trials = swept(driver).trials
    assert len(trials) == 12
    refused = [trial for trial in trials if trial.params["quality"] > 0.6]
    assert 0 < len(refused) < 12
    assert len(executor.together) == 12 - len(refused)
    for trial in refused:
        assert trial.state is TrialState.OUT_OF_MEMORY
        assert "memory predicted" in trial.reason
        told = load_study(Ledger(sweep_settings.study_url), "test").trials[trial.number]
        assert (told.state.name, bool(told.constraints)) == ("PRUNED", True)
    assert all(trial.state is TrialState.COMPLETE for trial in trials if trial not in refused)


def test_a_trial_without_room_waits_until_others_end_and_none_is_lost(sweep_settings: Settings) -> None:
    spec = make_spec(budget={"trials": 12, "evaluations": 3})
    executor = Counting(4)
    driver = drive_in(Room(lambda params: params["quality"], 1.2, together=4), spec, sweep_settings, executor)
    assert states(driver) == {TrialState.COMPLETE: 12}
    assert max(executor.together) <= 1.2
    assert any(total > 1 for total in executor.together)  # small ones did share


def test_a_trial_that_was_refused_stays_so_and_one_that_waited_is_trained_when_the_sweep_goes_on(
    sweep_settings: Settings, drive: Drive
) -> None:
    spec = make_spec(budget={"trials": 8, "evaluations": 3})
    driver = Driver(sweep_settings, spec, executor=LocalExecutor(2), tracker=NoTracker())
    with driver:
        swept(driver).room = Room(lambda params: params["quality"], 0.9, together=2)
        for event in driver.run():
            if event.happening is Happening.EVALUATED and len(swept(driver).trials) > 3:
                driver.stop("the test said so")
    before = {trial.number: trial.state for trial in swept(driver).trials}
    again = drive(spec)
    for trial in swept(again).trials:
        was = before.get(trial.number)
        assert trial.state is (was if was is TrialState.OUT_OF_MEMORY else TrialState.COMPLETE)
