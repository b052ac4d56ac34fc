"""What all tests share."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import workloads
from orchestrator.settings import Settings
from tests import postgres
from workloads.protocol import Dataset, Left, Progress, Workload

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Small networks on a busy machine: two threads that wait for each other take ten times as long as one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray reads this when it is first imported, by whichever test of the process that is.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


class FolderStorage:
    """Checkpoints as plain files of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def read(self, uri: str) -> bytes:
        return Path(uri).read_bytes()


class LeavingStorage(FolderStorage):
    """Checkpoints of a machine that asks to be left after so many updates."""

    def __init__(self, folder: Path, updates: int) -> None:
        super().__init__(folder)
        self.updates_left = updates

    def leaving(self) -> bool:
        self.updates_left -= 1
        return self.updates_left < 0


def train_moving(
    workload: Workload, params: Mapping[str, Any], dataset: Dataset, *, folder: Path, updates: int
) -> tuple[list[Progress], list[str]]:
    """Train a trial that has to move after so many updates, again and again; return what it gave and where it left."""
    found: list[Progress] = []
    left: list[str] = []
    while True:
        torch.rand(17)  # whatever else ran in the process in between
        storage = LeavingStorage(folder, updates)
        resume_from = max([*left, *(each.checkpoint for each in found)], key=made, default=None)
        try:
            for progress in workload.train(params, dataset, storage, resume_from):
                found.append(progress)
        except Left as moved:
            left.append(moved.checkpoint)
        else:
            return found, left


def made(path: str) -> int:
    """Return when a checkpoint was made, by its name."""
    return int(Path(path).stem.rpartition("-")[2], 16)


def prepare_shared(kind: str, **options: Any) -> tuple[Workload, Dataset]:
    """Return a workload and its data, read-only as workers share them."""
    workload = workloads.load(kind, options)
    dataset = workload.prepare()
    for array in dataset.arrays.values():
        array.flags.writeable = False
    return workload, dataset


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return FolderStorage(folder)


@pytest.fixture
def sweep_settings(tmp_path: Path) -> Settings:
    return Settings.load({"runs": tmp_path / "runs"}, environ={})


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    """A small text with something to learn in it."""
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 200)
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.PostgresServer]:
    if not postgres.is_installed():
        pytest.skip("PostgreSQL's server is not installed")
    pytest.importorskip("psycopg")
    with postgres.serving() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: postgres.PostgresServer) -> str:
    """A database that tests share."""
    return postgres_server.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of its own, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new folder/study.db"
    server: postgres.PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()
