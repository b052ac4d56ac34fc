"""The way to MLflow: quiet, without telemetry, and with its tables made before anything logs."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.database.connections import tune_connections
from orchestrator.settings import Settings
from orchestrator.tracking.credentials import check_server

if TYPE_CHECKING:
    from mlflow import MlflowClient

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",  # a lock file in the user's folder says nothing of the model
}
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def import_mlflow() -> Any:
    """Import MLflow (2 s), kept from calling home and from writing to the terminal."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow


def open_client(settings: Settings) -> MlflowClient:
    """Return a client with its store behind it: a database's folder and tables are made."""
    import_mlflow()
    from mlflow import MlflowClient

    file = sqlite_file(settings)
    with _alone(file):
        tune_connections()
        if file is not None and not file.exists():
            _make_tables(file)
        client = MlflowClient(settings.tracking_uri)
        if is_database(settings):
            client.get_experiment("0")  # the first call makes or migrates the tables
    return client


def open_to_look(settings: Settings) -> MlflowClient:
    """Return a client for a command that looks and does not wait: BpttError where a server is away or refuses."""
    check_server(settings.tracking_uri)
    return open_client(settings)


def all_pages(search: Callable[[str | None], Any]) -> list[Any]:
    """Return what a search finds on all of its pages; it is given the token of a page, None for the first."""
    found: list[Any] = []
    token = None
    while True:
        page = search(token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def _make_tables(file: Path) -> None:
    """Make an SQLite database under another name and then rename it.

    MLflow cannot go on with tables that a killed process left half made, and refuses the database for ever.
    """
    from mlflow import MlflowClient

    new = file.with_name(file.name + ".new")
    beside = [new.with_name(new.name + ending) for ending in ("", "-wal", "-shm")]
    for leftover in beside:
        leftover.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{new}").get_experiment("0")
    with closing(sqlite3.connect(new)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    new.rename(file)
    for leftover in beside:
        leftover.unlink(missing_ok=True)


@contextmanager
def talking_to(settings: Settings) -> Iterator[None]:
    """Make the settings' tracking URI that of the whole process for a while.

    Loading a model takes no URI as an argument, and registering one in a database looks at the process's in passing.
    """
    mlflow = import_mlflow()
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(settings.tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


def is_database(settings: Settings) -> bool:
    """Tell whether runs are written to a database directly, with no server between."""
    return settings.tracking_uri.split(":")[0].split("+")[0] in DATABASES


def sqlite_file(settings: Settings) -> Path | None:
    """Return the file of an SQLite tracking database; None where tracking is elsewhere."""
    found = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)(?:\?.*)?", settings.tracking_uri)
    return Path(found[1]) if found else None


@contextmanager
def _alone(file: Path | None) -> Iterator[None]:
    # Two first-time migrations of one database at once break it (mlflow#19299).
    if file is None:
        yield
        return
    import fcntl

    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(file.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
