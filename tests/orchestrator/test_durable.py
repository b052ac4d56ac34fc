"""The study in the database: who may write it, and what a connection that breaks does to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from orchestrator import patience
from orchestrator.driver import claim
from orchestrator.errors import BpttError, LeaseLost
from orchestrator.lease import Lease
from orchestrator.ledger import Ledger
from orchestrator.patience import patiently
from orchestrator.settings import Settings
from orchestrator.study import SweepStudy, read_sweep
from orchestrator.trial import TrialRecord, TrialState
from tests.orchestrator.conftest import make_spec
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
    "record": lambda study, trial: study.record(trial, evaluation(1)),
    "prune": lambda study, trial: study.durable.note(trial.number, "pruned_at", 3),
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
    study.record(trial, evaluation(0))
    ledger.update("test", owner="another:1:2:3:x")
    before = everything(ledger)
    with pytest.raises(LeaseLost, match="taken test over"):
        write(study, trial)
    assert everything(ledger) == before


@pytest.mark.parametrize("method", ["create_new_trial", "set_trial_intermediate_value", "set_trial_state_values"])
@pytest.mark.parametrize("is_committed", [False, True])
def test_what_was_committed_before_a_connection_broke_is_not_written_twice(
    method: str, is_committed: bool, ledger: Ledger, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = SweepStudy(ledger, make_spec(), lease.owner)
    work, breaks = getattr(study.durable.storage, method), iter([True, True, False])

    def break_off(*arguments: Any, **options: Any) -> Any:
        if next(breaks, False):
            if is_committed:
                work(*arguments, **options)
            raise AWAY
        return work(*arguments, **options)

    monkeypatch.setattr(study.durable.storage, method, break_off)
    trial = study.ask()
    study.record(trial, evaluation(0))
    study.tell(trial, TrialState.PRUNED, "enough")
    _, [read] = read_sweep(ledger, "test")
    assert (read.number, read.state, read.reason) == (0, TrialState.PRUNED, "enough")
    assert [progress.evaluation for progress in read.evaluations] == [0]


def test_an_evaluation_whose_acknowledgement_was_cut_off_is_there_once(
    ledger: Ledger, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, breaks = ledger.held, iter([True])

    class BreaksAtTheEnd:
        def __init__(self, *arguments: str) -> None:
            self.whole = held(*arguments)

        def __enter__(self) -> Any:
            return self.whole.__enter__()

        def __exit__(self, *error: Any) -> None:
            self.whole.__exit__(*error)
            if next(breaks, False):
                raise AWAY

    monkeypatch.setattr(ledger, "held", BreaksAtTheEnd)
    ledger.record("test", 0, evaluation(0), owner=lease.owner)
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
