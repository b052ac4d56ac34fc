"""What a shared deployment stands on, real and on this machine: PostgreSQL, S3, MLflow behind a password, a disk."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch
from urllib.request import urlopen

from orchestrator.settings import Settings
from tests import postgres, s3
from tests.cluster.hosts import Host, Network
from tests.cluster.ray_cluster import plain_environment

USER, PASSWORD = "admin", "correct horse battery"
LOGIN = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
DISK_MB = 64
TRACKING_PORT = 5000
READY_S = 120.0


class TrackingServer:
    """An MLflow server with a password on a host of its own, its runs in PostgreSQL, its artifacts handed through."""

    def __init__(self, host: Host, *, runs: str, users: str) -> None:
        self._host = host
        users_file = host.folder / "users.ini"
        users_file.write_text(
            "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
            f"database_uri = {users.replace('%', '%%')}\nadmin_username = {USER}\nadmin_password = {PASSWORD}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            "auth_cache_ttl_seconds = 60\n"
        )
        self._environ = {
            **plain_environment(),
            "MLFLOW_AUTH_CONFIG_PATH": str(users_file),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "0" * 32,
            "MLFLOW_BACKEND_STORE_URI": runs,  # on the command line its password would show in `ps`
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # or eight more processes work for nobody
        }
        place = ["--host", "0.0.0.0", "--port", str(TRACKING_PORT), "--workers", "1", "--allowed-hosts", "*"]
        stores = ["--artifacts-destination", str(host.folder / "artifacts")]
        self._command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", *place, *stores]
        self.start()

    @property
    def url(self) -> str:
        """Return where it answers."""
        return f"http://{self._host.address}:{TRACKING_PORT}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        process = self._host.start("mlflow", self._command, self._environ)
        end = time.monotonic() + READY_S
        while True:
            with contextlib.suppress(OSError), urlopen(f"{self.url}/health", timeout=5):
                return
            if process.status is not None or time.monotonic() > end:
                raise RuntimeError(process.said()[-2000:])
            time.sleep(0.3)

    def stop(self) -> None:
        """End all its processes at once; what it has acknowledged stays."""
        self._host.kill("")


class Disk:
    """A small file system that every host has, as one mounted over the network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filling = folder / "others-data"

    def fill(self) -> None:
        """Leave no room."""
        with self._filling.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        """Give the room back."""
        self._filling.unlink(missing_ok=True)


@dataclass
class Deployment:
    """The servers, until the test is over."""

    folder: Path
    postgres: postgres.PostgresServer
    study_url: str
    store: s3.Store
    tracking: TrackingServer
    disk: Disk

    def environ(self, checkpoints: str) -> dict[str, str]:
        """Return the variables of a driver that keeps its checkpoints there."""
        return {
            **plain_environment(),
            **s3.KEYS,
            "BPTT_STUDY_URL": self.study_url,
            "BPTT_TRACKING_URI": self.tracking.url,
            **LOGIN,
            "BPTT_CHECKPOINTS": checkpoints,
        }

    def settings(self, checkpoints: str) -> Settings:
        """Return the same as settings."""
        return Settings.load({"runs": self.folder / "runs"}, environ=self.environ(checkpoints))


@contextmanager
def deployed(folder: Path, network: Network) -> Iterator[Deployment]:
    """Bring everything up beside the hosts of a network, and take it down in the end."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # or it prints each request to S3
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, LOGIN))  # for who looks at MLflow from here
        server = stack.enter_context(postgres.serving(network.address))
        store = stack.enter_context(s3.serving(network.address))
        disk = folder / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)], check=True)
        stack.callback(subprocess.run, ["umount", "--lazy", str(disk)], check=False)
        host = network.add(folder)
        tracking = TrackingServer(host, runs=server.new_database(), users=server.new_database())
        yield Deployment(folder, server, server.new_database(), store, tracking, Disk(disk))
