"""Sweeps on a real PostgreSQL server that is restarted, stopped and cut off under them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError

from orchestrator.cli.main import run as bptt
from orchestrator.database.connections import SET_UP
from orchestrator.database.lease import Lease
from orchestrator.database.ledger import Ledger
from orchestrator.database.patience import is_away
from orchestrator.database.stored import read_sweep
from orchestrator.driver import Driver
from orchestrator.event import Happening
from orchestrator.executors.local import LocalExecutor
from orchestrator.settings import Settings
from orchestrator.tracking import open_tracker
from orchestrator.tracking.base import NoTracker
from orchestrator.tracking.client import open_client
from orchestrator.trial import TrialState
from tests.fakes import KIND
from tests.orchestrator.conftest import make_spec, swept
from tests.postgres import PostgresServer


@pytest.fixture
def settings(postgres_server: PostgresServer, tmp_path: Path) -> Settings:
    flags = {"runs": tmp_path / "runs", "study_url": postgres_server.new_database()}
    return Settings.load(flags, environ={})


def drive_through(settings: Settings, fault: Callable[[], None], tmp_path: Path) -> None:
    """Drive a sweep of 30 evaluations, the fault struck after the seventh, and check that all is there once."""
    marks = tmp_path / "marks"
    marks.mkdir()
    spec = make_spec(workload={"kind": KIND, "marks": str(marks), "pause_s": 0.05})
    seen: Counter[Happening] = Counter()
    with Driver(settings, spec, executor=LocalExecutor(2), tracker=NoTracker()) as driver:
        for happened in driver.run():
            seen[happened.happening] += 1
            if happened.happening is Happening.EVALUATED and seen[Happening.EVALUATED] == 7:
                fault()
    assert driver.outcome is not None
    assert driver.outcome.state == "finished"
    assert seen[Happening.EVALUATED] == 30
    assert len(list(marks.iterdir())) == 30  # nothing was trained twice
    ledger = Ledger(settings.study_url)
    _, trials = read_sweep(ledger, "test")
    assert [trial.number for trial in trials] == list(range(6))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert ledger.evaluations("test") == {trial.number: trial.evaluations for trial in swept(driver).trials}
    assert [len(trial.evaluations) for trial in trials] == [5] * 6


def test_a_database_restarted_under_a_sweep_loses_nothing(
    settings: Settings, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    drive_through(settings, postgres_server.restart, tmp_path)


@pytest.mark.slow
def test_a_database_away_for_five_seconds_is_waited_for(
    settings: Settings, postgres_server: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    back = threading.Timer(5.0, postgres_server.start)

    def stop() -> None:
        postgres_server.stop()
        back.start()

    try:
        drive_through(settings, stop, tmp_path)
    finally:
        back.join()
    assert "the sweeps' database is away; waiting for it" in capsys.readouterr().err


def test_a_driver_that_begins_while_the_database_is_away_waits_for_it(
    settings: Settings, postgres_server: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    postgres_server.stop()
    back = threading.Timer(2.0, postgres_server.start)
    back.start()
    try:
        drive_through(settings, lambda: None, tmp_path)
    finally:
        back.join()
    assert "the sweeps' database is away; waiting for it" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("list",), ("status", "test"), ("stop", "test"), ("report", "test")])
def test_a_command_that_finds_the_database_away_says_so_in_a_line(
    arguments: tuple[str, ...],
    settings: Settings,
    postgres_server: PostgresServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    postgres_server.stop()
    try:
        assert bptt([*arguments, "--study-url", settings.study_url]) == 1
    finally:
        postgres_server.start()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "the sweeps' database is away" in said


def test_a_driver_asleep_within_a_transaction_does_not_keep_the_sweep_from_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SET_UP, "psycopg", ("SET idle_in_transaction_session_timeout = '1s'",))
    ledger = Ledger(settings.study_url)
    ledger.create("test", {"name": "test"})
    sleeper = Lease(ledger, "test", seconds=0.5)
    sleeper.take()
    successor = Lease(Ledger(settings.study_url), "test")
    with pytest.raises(DBAPIError) as caught, ledger.held("test", sleeper.owner):  # noqa: PT012 - the end raises
        time.sleep(0.6)
        successor.take()
    assert is_away(caught.value)  # so that the sleeper tries again, and finds that its lease is another's
    assert ledger.sweep("test").owner == successor.owner


@pytest.mark.parametrize("is_committed", [False, True])
def test_a_connection_cut_at_commit_writes_nothing_twice(
    is_committed: bool,
    settings: Settings,
    postgres_server: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commit, strikes = PGDialect_psycopg.do_commit, iter([False] * 40 + [True] * 3)

    def break_off(dialect: Any, connection: Any) -> None:
        struck = next(strikes, False)
        if struck and is_committed:
            commit(dialect, connection)
        if struck:
            postgres_server.execute(f"SELECT pg_terminate_backend({connection.driver_connection.info.backend_pid})")
            connection.driver_connection.execute(
                "SELECT 1"
            )  # raises what a commit into a connection that is gone raises
        commit(dialect, connection)

    monkeypatch.setattr(PGDialect_psycopg, "do_commit", break_off)
    drive_through(settings, lambda: None, tmp_path)
    assert next(strikes, None) is None


@pytest.mark.slow
def test_tracking_on_postgresql_shows_every_evaluation(settings: Settings, postgres_server: PostgresServer) -> None:
    settings = settings.model_copy(update={"tracking_uri": postgres_server.new_database()})
    with Driver(settings, make_spec(), executor=LocalExecutor(2), tracker=open_tracker(settings)) as driver:
        for _ in driver.run():
            pass
    assert driver.outcome is not None
    assert driver.outcome.tracked
    client = open_client(settings)
    experiments = [found.experiment_id for found in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.`bptt.trial` LIKE '%'")
    assert len(runs) == 6
    for run in runs:
        assert len(client.get_metric_history(run.info.run_id, "valid_loss")) == 5
