"""Who trained which trial when, as the driver notes it."""

from __future__ import annotations

from collections import Counter

import pytest

from orchestrator.database.ledger import Ledger
from orchestrator.database.stints import Stints, read_stints
from orchestrator.database.writes import Writes
from orchestrator.errors import LeaseLost
from orchestrator.executors.base import first_free
from orchestrator.settings import Settings
from orchestrator.trial import TrialState
from tests.orchestrator.conftest import Drive, make_spec, swept
from tests.orchestrator.test_sweep import DyingExecutor


@pytest.fixture
def ledger(sweep_settings: Settings) -> Ledger:
    ledger = Ledger(sweep_settings.study_url)
    ledger.create("test", make_spec().plain())
    ledger.update("test", owner="me")
    return ledger


def test_a_stint_is_open_until_its_trial_leaves_the_worker(ledger: Ledger) -> None:
    stints = Stints(Writes(ledger, "test", "me"))
    stints.begin(7, "host/1")
    [under_way] = read_stints(ledger, "test")
    assert (under_way.trial, under_way.worker, under_way.ended, under_way.how) == (7, "host/1", None, "")
    stints.end(7, TrialState.PRUNED)
    [ended] = read_stints(ledger, "test")
    assert ended.how == "pruned"
    assert ended.ended is not None
    assert ended.ended >= ended.began


def test_a_driver_that_follows_another_goes_on_after_its_stints(ledger: Ledger) -> None:
    Stints(Writes(ledger, "test", "me")).begin(0, "host/1")
    Stints(Writes(ledger, "test", "me")).begin(0, "host/2")
    assert [stint.worker for stint in read_stints(ledger, "test")] == ["host/1", "host/2"]


def test_a_driver_that_lost_its_sweep_notes_nothing(ledger: Ledger) -> None:
    stints = Stints(Writes(ledger, "test", "someone else"))
    with pytest.raises(LeaseLost):
        stints.begin(0, "host/1")
    assert read_stints(ledger, "test") == []


def test_every_trial_of_a_sweep_has_a_stint_that_ended_as_the_trial_did(drive: Drive, sweep_settings: Settings) -> None:
    driver = drive(make_spec())
    found = read_stints(Ledger(sweep_settings.study_url), "test")
    assert {stint.trial: stint.how for stint in found} == {
        trial.number: str(trial.state) for trial in swept(driver).trials
    }
    assert {stint.worker.rpartition("/")[2] for stint in found} == {"1", "2"}


def test_a_worker_that_died_ends_a_stint_as_lost_and_another_goes_on(drive: Drive, sweep_settings: Settings) -> None:
    drive(make_spec(), DyingExecutor({3}))
    found = read_stints(Ledger(sweep_settings.study_url), "test")
    assert Counter(stint.how for stint in found)["lost"] >= 1
    [lost, *_] = [stint for stint in found if stint.how == "lost"]
    assert [stint.how for stint in found if stint.trial == lost.trial][-1] == "complete"


def test_a_free_place_is_the_lowest_that_nobody_has() -> None:
    assert [first_free(taken) for taken in ([], [1], [2], [1, 3, 2])] == [1, 2, 1, 4]
