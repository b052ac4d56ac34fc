"""The study in the database: who may write it, and what a connection that breaks does to it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from orchestrator.database import patience
from orchestrator.database.lease import Lease
from orchestrator.database.ledger import Ledger
from orchestrator.database.patience import patiently
from orchestrator.database.stints import Stints, read_stints
from orchestrator.database.stored import read_sweep, stored_trials
from orchestrator.driver import claim
from orchestrator.errors import BpttError, LeaseLost
from orchestrator.search.study import SweepStudy
from orchestrator.settings import Settings
from orchestrator.trial import TrialRecord, TrialState
from tests.orchestrator.conftest import make_spec
from tests.orchestrator.recorded import record
from workloads.protocol import Progress

AWAY = OperationalError("insert", {}, Exception("server closed the connection unexpectedly"))


@pytest.fixture
def sweep_settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings.load({"runs": tmp_path / "runs", "study_url": database_url}, environ={})


@pytest.fixture
def ledger(sweep_settings: Settings) -> Ledger:
    return Ledger(sweep_settings.study_url)


@pytest.fixture
def lease(ledger: Ledger) -> Lease:
    lease = Lease(ledger, "test")
    claim(ledger, make_spec(), lease)
    return lease


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.01)


def evaluation(number: int) -> Progress:
    return Progress(number, 1000 * (number + 1), {"valid_loss": 0.5}, f"file:///{number}", 1.0)


def everything(ledger: Ledger) -> Any:
    _, trials = read_sweep(ledger, "test")
    return trials, ledger.evaluations("test"), ledger.sweep("test").spec


WRITES: dict[str, Callable[[SweepStudy, TrialRecord], object]] = {
    "ask": lambda study, _: study.ask(),
    "record": lambda study, trial: record(study, trial, evaluation(1)),
    "prune": lambda study, trial: study.durable.note(trial.number, {"pruned_at": 3}),
    "report": lambda study, trial: study.durable.report(trial.number, 2, 0.3),
    "tell": lambda study, trial: study.tell(trial, TrialState.FAILED, "it did"),
    "complete": lambda study, trial: study.durable.end(trial.number, *complete()),
    "model": lambda study, _: study.ledger.update("test", held_by=study.owner, model="models:/x/1"),
}


def complete() -> Any:
    import optuna

    return optuna.trial.TrialState.COMPLETE, [0.5]


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_driver_that_wakes_behind_its_lease_writes_nothing(
    write: Callable[[SweepStudy, TrialRecord], object], ledger: Ledger, lease: Lease
) -> None:
    study = SweepStudy(ledger, make_spec(), lease.owner)
    trial = study.ask()
    record(study, trial, evaluation(0))
    ledger.update("test", owner="another:1:2:3:x")
    before = everything(ledger)
    with pytest.raises(LeaseLost, match="taken test over"):
        write(study, trial)
    assert everything(ledger) == before


class BreaksAtTheEnd:
    """A transaction whose connection breaks at the commit, behind it or before it."""

    def __init__(self, whole: AbstractContextManager[Any], *, is_committed: bool) -> None:
        self.whole, self.is_committed = whole, is_committed

    def __enter__(self) -> Any:
        return self.whole.__enter__()

    def __exit__(self, *error: Any) -> None:
        if not self.is_committed:
            self.whole.__exit__(OperationalError, AWAY, None)  # rolls back, and raises
        self.whole.__exit__(*error)
        raise AWAY


def break_off(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, *, nth: int, is_committed: bool) -> None:
    """Let the nth transaction from now on break, counted from 0, and the one after it."""
    held, count = ledger.held, itertools.count()

    def breaking(*arguments: str) -> Any:
        whole = held(*arguments)
        return BreaksAtTheEnd(whole, is_committed=is_committed) if next(count) in (nth, nth + 1) else whole

    monkeypatch.setattr(ledger, "held", breaking)


@pytest.mark.parametrize("nth", range(3), ids=["ask", "record", "tell"])
@pytest.mark.parametrize("is_committed", [False, True])
def test_what_was_committed_before_a_connection_broke_is_not_written_twice(
    nth: int, is_committed: bool, ledger: Ledger, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = SweepStudy(ledger, make_spec(), lease.owner)
    break_off(ledger, monkeypatch, nth=nth, is_committed=is_committed)
    trial = study.ask()
    record(study, trial, evaluation(0))
    study.tell(trial, TrialState.PRUNED, "enough")
    _, [read] = read_sweep(ledger, "test")
    assert (read.number, read.state, read.reason) == (0, TrialState.PRUNED, "enough")
    assert [progress.evaluation for progress in read.evaluations] == [0]
    [stored] = stored_trials(ledger, "test")
    assert stored.intermediate_values == {1: 0.5}


@pytest.mark.parametrize("is_committed", [False, True])
def test_what_happens_together_is_written_once_or_not_at_all(
    is_committed: bool, ledger: Ledger, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = SweepStudy(ledger, make_spec(), lease.owner)
    stints = Stints(study.writes)
    ended, going = study.ask(), study.ask()
    study.acknowledge([(ended, evaluation(0)), (going, evaluation(0))])
    before = everything(ledger)
    break_off(ledger, monkeypatch, nth=0, is_committed=is_committed)
    told: list[int] = []
    with study.writes.together():
        study.tell(ended, TrialState.FAILED, "it did")
        study.writes.after(lambda: told.append(ended.number))
        study.pin(going)
        stints.begin(study.ask().number, "host/1")
        assert everything(ledger) == before
        assert not told
    assert told == [ended.number]
    _, trials = read_sweep(ledger, "test")
    assert [(trial.state, trial.pinned) for trial in trials] == [
        (TrialState.FAILED, False),
        (TrialState.RUNNING, True),
        (TrialState.RUNNING, False),
    ]
    assert [stint.trial for stint in read_stints(ledger, "test")] == [2]


def test_what_is_written_in_bulk_is_what_optuna_would_have_written(ledger: Ledger, lease: Lease) -> None:
    import optuna

    spec = make_spec(space={"quality": {"float": [0.1, 1.0]}, "fate": ["none", "nan"], "at": {"int": [1, 4]}})
    study = SweepStudy(ledger, spec, lease.owner)
    trial = study.ask()
    for number in range(2):
        record(study, trial, evaluation(number))
    study.tell(trial, TrialState.COMPLETE)
    [ours] = stored_trials(ledger, "test")
    ledger.create("other", {})
    ledger.update("other", owner=lease.owner)
    theirs = optuna.create_study(study_name="other", storage=study.durable.storage.url)
    theirs.add_trial(ours)
    [copy] = theirs.get_trials()
    assert copy == replace_id(ours, copy._trial_id)
    assert ours.datetime_start is not None
    assert abs((datetime.now() - ours.datetime_start).total_seconds()) < 3600


def replace_id(trial: Any, known: int) -> Any:
    trial._trial_id = known
    return trial


def test_an_evaluation_whose_acknowledgement_was_cut_off_is_there_once(
    ledger: Ledger, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(ledger, monkeypatch, nth=0, is_committed=True)
    ledger.record("test", [(0, evaluation(0))], owner=lease.owner)
    assert ledger.evaluations("test") == {0: [evaluation(0)]}


def test_a_database_that_stays_away_is_given_up_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def ask() -> None:
        raise OperationalError("x", {}, Exception("no route to postgresql://me:secret@host/x"))

    began = time.monotonic()
    with pytest.raises(BpttError, match="database is away") as caught:
        patiently(ask, patience_s=0.1)
    assert 0.05 < time.monotonic() - began < 5
    said = capsys.readouterr().err
    assert said.count("waiting for it") == 1
    assert "secret" not in str(caught.value) + said


def test_a_fault_of_the_question_is_raised_at_once() -> None:
    tries: list[int] = []

    def ask() -> None:
        tries.append(1)
        raise OperationalError("x", {}, Exception("no such table: bptt_sweep"))

    with pytest.raises(OperationalError):
        patiently(ask)
    assert tries == [1]
