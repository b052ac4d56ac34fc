"""Trackers that write from this process, to MLflow's tables made once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.tracking.base import Illustrate
from orchestrator.tracking.client import open_client
from orchestrator.tracking.mlflow import MlflowTracker
from orchestrator.tracking.runs import SweepRuns
from orchestrator.tracking.view import SweepView
from orchestrator.trial import TrialRecord
from tests.orchestrator.conftest import make_spec
from workloads.protocol import Dataset


class RunsHere(SweepRuns):
    """SweepRuns in this process, failing as often as it is told to."""

    is_alive = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.failures: dict[str, int] = {}

    def _fail(self, where: str) -> None:
        if self.failures.get(where, 0) > 0:
            self.failures[where] -= 1
            raise ConnectionError(f"the server is away ({where})")

    def open(self, view: SweepView, chosen: Mapping[int, Mapping[str, Any]]) -> dict[int, str]:
        self._fail("open")
        return super().open(view, chosen)

    def write(self, trial: TrialRecord) -> None:
        self._fail("before write")
        super().write(trial)
        self._fail("after write")

    def _create(self, trial: TrialRecord) -> str:
        run_id = super()._create(trial)
        self._fail("after create")
        return run_id

    def close(self) -> None:
        pass


class DrawnHere:
    """Figures drawn in this process."""

    def __init__(self, settings: Settings, illustrate: Illustrate, name: str) -> None:
        self._work = partial(illustrate, settings, name)

    def files(self, ended: Mapping[str, Any] | None) -> Mapping[str, bytes]:
        try:
            return self._work()(ended)
        except Exception as error:
            raise ConnectionError(str(error)) from error

    def close(self) -> None:
        pass


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: they take two seconds."""
    file = tmp_path_factory.mktemp("mlflow") / "empty.db"
    open_client(Settings(tracking_uri=f"sqlite:///{file}").complete())
    return file


@pytest.fixture
def settings(tmp_path: Path, empty_database: Path) -> Settings:
    made = Settings.load({"runs": tmp_path / "runs"}, environ={})
    made.runs.mkdir()
    with sqlite3.connect(empty_database) as source, sqlite3.connect(made.runs / "mlflow.db") as target:
        source.backup(target)
    return made


@pytest.fixture
def dataset() -> Dataset:
    return make_spec().load_workload().prepare()


@pytest.fixture
def track(settings: Settings, dataset: Dataset) -> Callable[..., MlflowTracker]:
    """Return a function that opens a tracker writing from this process."""

    def start(spec: SweepSpec, *trials: TrialRecord, failures: Mapping[str, int] | None = None) -> MlflowTracker:
        runs = RunsHere(settings)
        runs.failures = dict(failures or {})
        tracker = MlflowTracker(settings, connect=lambda _: runs)
        tracker.open(spec, dataset, trials)
        return tracker

    return start
