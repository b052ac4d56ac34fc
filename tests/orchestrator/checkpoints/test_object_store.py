"""Checkpoints on S3, from a server that is busy now and then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator import outage
from orchestrator.checkpoints import storage as checkpoints
from orchestrator.checkpoints.storage import CheckpointStorage
from orchestrator.database.stored import read_sweep
from orchestrator.driver import Driver
from orchestrator.errors import BpttError
from orchestrator.event import Happening
from orchestrator.executors.local import LocalExecutor
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import TrialState
from tests import s3
from tests.orchestrator.conftest import make_spec
from workloads.protocol import UnusableCheckpoint

pytest.importorskip("moto", reason="the S3 server of the tests is not installed")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.Store]:
    for name, value in s3.KEYS.items():
        monkeypatch.setenv(name, value)
    with s3.serving() as store:
        yield store


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch, store: s3.Store) -> list[float]:
    """Let no pause be waited for, and the store be well again behind each; return their lengths."""
    made: list[float] = []

    def sleep(seconds: float) -> None:
        made.append(seconds)
        store.fault = None

    monkeypatch.setattr(outage, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: 0.0))
    return made


def sweep(settings: Settings, spec: SweepSpec, until: int | None = None) -> Driver:
    """Drive a sweep, or break off by an error once `until` evaluations were made."""
    with Driver(settings, spec, executor=LocalExecutor(1), tracker=NoTracker()) as driver:
        made = 0
        for event in driver.run():
            made += event.happening is Happening.EVALUATED
            if until is not None and made == until:
                driver.stop("the test said so")
    return driver


def on(store: s3.Store, tmp_path: Path) -> Settings:
    return Settings.load({"runs": tmp_path / "runs", "checkpoints": store.uri("some/place")}, environ={})


def test_what_is_written_is_listed_read_and_deleted(store: s3.Store) -> None:
    storage = CheckpointStorage(store.uri("some/place")).within("sweep").within("trial-00001")
    uri = storage.write("x", b"content")
    assert uri == f"s3://{s3.BUCKET}/some/place/sweep/trial-00001/x"
    assert storage.read(uri) == b"content"
    [file] = CheckpointStorage(store.uri("some/place")).files()
    assert file.name == "sweep/trial-00001/x"
    assert 0 <= file.age_s < 60
    assert storage.delete(uri)
    assert storage.delete(uri)
    assert store.keys() == []
    with pytest.raises(FileNotFoundError):
        storage.read(uri)


def test_an_altered_object_is_refused(store: s3.Store) -> None:
    storage = CheckpointStorage(store.uri("p"))
    uri = storage.write("x", b"content")
    client = store.client
    sealed = client.get_object(Bucket=s3.BUCKET, Key="p/x")["Body"].read()
    client.put_object(Bucket=s3.BUCKET, Key="p/x", Body=sealed.replace(b"content", b"contend"))
    with pytest.raises(UnusableCheckpoint):
        storage.read(uri)


@pytest.mark.parametrize("status", [500, 503])
def test_a_store_that_is_busy_for_a_while_is_waited_for(
    status: int, store: s3.Store, pauses: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    storage = CheckpointStorage(store.uri("p"))
    store.fault = status
    uri = storage.write("x", b"content")
    store.fault = status
    assert storage.read(uri) == b"content"
    assert pauses == [1.0, 1.0]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bptt: ")]
    assert len(said) == 2
    assert all("the checkpoints' storage is busy or away; waiting for it: " in line for line in said)


def test_pauses_grow_and_end_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pauses = [0.0], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock[0] += seconds

    def busy() -> None:
        clock[0] += 6.0  # as long as pyarrow tries
        raise OSError("AWS Error UNKNOWN (HTTP status 503) during HeadObject operation")

    monkeypatch.setattr(outage, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0]))
    with pytest.raises(OSError, match=r"tried for 61 s: .*503"):
        checkpoints.patiently(busy)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0]


def test_what_will_not_pass_is_not_waited_for(store: s3.Store, pauses: list[float]) -> None:
    nowhere = CheckpointStorage(store.uri("p").replace(s3.BUCKET, "nowhere"))
    with pytest.raises(OSError, match="NO_SUCH_BUCKET"):
        nowhere.write("x", b"content")
    assert not nowhere.is_there()
    assert CheckpointStorage(store.uri("p")).is_there()
    assert pauses == []


@pytest.mark.slow
def test_a_sweep_whose_store_is_busy_goes_on(store: s3.Store, pauses: list[float], tmp_path: Path) -> None:
    settings, spec = on(store, tmp_path), make_spec(budget={"trials": 2, "sequence_steps": 3000, "evaluations": 3})
    with Driver(settings, spec, executor=LocalExecutor(1), tracker=NoTracker()) as driver:
        for event in driver.run():
            if event.happening is Happening.STARTED:
                store.fault = 503
    assert driver.outcome is not None
    assert driver.outcome.state == "finished"
    assert pauses
    assert driver.sweep is not None
    best = driver.outcome.best
    assert best is not None
    assert best.last is not None
    assert driver.sweep.checkpoints.read(best.last.checkpoint) == b"3"


def test_a_store_that_stays_away_stops_the_sweep_and_loses_nothing(
    store: s3.Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings, spec = on(store, tmp_path), make_spec(budget={"trials": 2, "sequence_steps": 3000, "evaluations": 3})
    monkeypatch.setattr(checkpoints, "PATIENCE_S", 1.0)
    driver = Driver(settings, spec, executor=LocalExecutor(1), tracker=NoTracker())
    with pytest.raises(BpttError, match="nothing is lost") as caught, driver:  # noqa: PT012 - it ends there
        for event in driver.run():
            if event.happening is Happening.EVALUATED:
                store.fault = 503
    assert "503" in str(caught.value)
    assert driver.ledger.sweep("test").state == "interrupted"  # so that whoever keeps sweeps going takes it up
    store.fault = None
    _, trials = read_sweep(driver.ledger, "test")
    assert [(len(trial.evaluations), trial.state) for trial in trials] == [(1, TrialState.RUNNING)]
    finished = sweep(settings, spec)
    assert finished.outcome is not None
    assert finished.outcome.state == "finished"
    assert finished.sweep is not None
    assert [len(trial.evaluations) for trial in finished.sweep.trials] == [3, 3]
    assert len(store.keys()) == 1
