"""The driver: who may run a sweep, with which file and data, and for how long."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from orchestrator.database import lease as lease_module
from orchestrator.database.ledger import Ledger
from orchestrator.driver import Driver
from orchestrator.errors import LeaseLost, SpecChanged, SweepHeld, UserError
from orchestrator.event import Happening
from orchestrator.executors.local import LocalExecutor
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import Job
from tests.fakes import KIND
from tests.orchestrator.conftest import Drive, make_spec, swept
from workloads.protocol import Dataset


class UnwantedExecutor(LocalExecutor):
    """Is not to be opened."""

    def open(self, job: Job) -> None:
        raise AssertionError("there is nothing to train")


def test_a_changed_spec_is_refused_with_the_difference(drive: Drive) -> None:
    drive(make_spec())
    with pytest.raises(SpecChanged, match=r"search\.seed: 3 -> 4"):
        drive(make_spec(search={"sampler": "random", "pruner": "none", "seed": 4}))


def test_other_data_under_the_same_name_are_refused(tmp_path: Path, sweep_settings: Settings, text_file: Path) -> None:
    spec = make_spec(
        workload={"kind": "language_model", "text": str(text_file)},
        space={"hidden_size": [4, 8]},
        train={"truncation_length": 8, "batch_size": 4},
        budget={"trials": 1, "sequence_steps": 1000, "evaluations": 1},
    )
    for expected in ("finished", "refused"):
        driver = Driver(sweep_settings, spec, executor=LocalExecutor(), tracker=NoTracker())
        if expected == "refused":
            text_file.write_text(text_file.read_text() + "more of it")
            with pytest.raises(UserError, match="the data have changed"), driver:
                pass
            return
        with driver:
            list(driver.run())


def test_a_sweep_without_trials_takes_a_mended_file(sweep_settings: Settings, text_file: Path, drive: Drive) -> None:
    """A typo is found when the data are read; the name must not be burnt by it."""

    def spec(text: str) -> SweepSpec:
        return make_spec(
            workload={"kind": "language_model", "text": text},
            space={"hidden_size": [4, 8]},
            train={"truncation_length": 8, "batch_size": 4},
            budget={"trials": 1, "sequence_steps": 1000, "evaluations": 1},
        )

    with pytest.raises(UserError, match="is neither a file"):
        drive(spec("no such text"))
    outcome = drive(spec(str(text_file))).outcome
    assert outcome is not None
    assert outcome.state == "finished"


def test_resources_may_differ_when_a_sweep_goes_on_elsewhere(drive: Drive) -> None:
    drive(make_spec(), until=lambda event: event.happening is Happening.EVALUATED)
    outcome = drive(make_spec(resources={"cpus": 2})).outcome
    assert outcome is not None
    assert outcome.state == "finished"


def test_a_driver_that_slept_through_its_lease_writes_nothing(sweep_settings: Settings) -> None:
    ledger = Ledger(sweep_settings.study_url)
    before = {}
    with Driver(sweep_settings, make_spec(), executor=LocalExecutor(), tracker=NoTracker()) as first:
        events = first.run()
        while next(events).happening is not Happening.EVALUATED:
            pass
        ledger.update("test", owner="another")
        before = ledger.evaluations("test")
        with pytest.raises(LeaseLost):
            list(events)
    assert ledger.evaluations("test") == before
    assert ledger.sweep("test").owner == "another"


def test_the_lease_is_renewed_while_data_are_prepared(
    sweep_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "RENEW_EVERY_S", 0.1)
    driver = Driver(sweep_settings, make_spec(), executor=LocalExecutor(), tracker=NoTracker())
    expiries = []
    prepare = driver.workload.prepare

    class Slow:
        objectives = driver.workload.objectives

        def prepare(self) -> Dataset:
            for _ in range(2):
                time.sleep(0.3)
                expiries.append(driver.ledger.sweep("test").expires)
            return prepare()

    driver.workload = Slow()  # type: ignore[assignment]
    with driver:
        pass
    assert expiries[1] > expiries[0]


def test_a_second_driver_is_refused_and_told_who_runs_the_sweep(sweep_settings: Settings) -> None:
    first, second = (
        Driver(sweep_settings, make_spec(), executor=LocalExecutor(), tracker=NoTracker()) for _ in range(2)
    )
    with first:
        with pytest.raises(SweepHeld, match=r"test is being run by process \d+ on "):
            second.__enter__()
        list(first.run())
    assert first.outcome is not None
    assert first.outcome.state == "finished"


def test_a_finished_sweep_run_again_trains_nothing(drive: Drive) -> None:
    drive(make_spec())
    again = drive(make_spec(), UnwantedExecutor())
    assert again.outcome is not None
    assert again.outcome.state == "finished"


def test_hours_are_a_budget_of_all_drivers_together(drive: Drive, sweep_settings: Settings) -> None:
    spec = make_spec(workload={"kind": KIND, "pause_s": 0.05}, budget={"trials": 200, "evaluations": 5, "hours": 0.001})
    stopped = drive(spec)
    assert stopped.outcome is not None
    assert stopped.outcome.state == "finished"
    assert stopped.outcome.best is not None
    assert "hours is used up" in stopped.outcome.message
    trained = len(swept(stopped).trials)
    assert 0 < trained < 200
    assert len(swept(drive(spec)).trials) == trained  # nothing is left for another driver
    assert Ledger(sweep_settings.study_url).sweep("test").elapsed_s > 1.0
