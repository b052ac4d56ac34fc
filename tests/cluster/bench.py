"""The bench: a deployment, a cluster on it, one sweep's driver, and the operator who replaces what is gone."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from orchestrator.database.ledger import Ledger
from orchestrator.database.patience import patiently
from orchestrator.database.stored import read_sweep
from orchestrator.errors import SweepNotFound
from orchestrator.trial import TrialRecord
from tests import s3
from tests.cluster.deployment import Deployment, deployed
from tests.cluster.hosts import Network, Process
from tests.cluster.ray_cluster import RayCluster

LEASE_S = 10.0
WORKER, DRIVER = "ray::RemoteWorker", "orchestrator.cli"
MOST_STARTS = 6
"""Drivers in a row that may come to nothing before the bench gives up."""


@dataclass(frozen=True)
class PlannedSweep:
    """A sweep, and where its checkpoints are to lie."""

    spec: Mapping[str, Any]
    checkpoints: str

    @property
    def name(self) -> str:
        """Return its name."""
        return str(self.spec["name"])

    @property
    def is_on_s3(self) -> bool:
        """Tell whether its checkpoints are in the object store rather than on the shared disk."""
        return self.checkpoints.startswith("s3:")


@dataclass
class Bench:
    """Everything that a sweep needs, and what can be done to it."""

    folder: Path
    network: Network
    deployment: Deployment
    cluster: RayCluster
    sweep: PlannedSweep | None = None
    driver: Process | None = None
    lease_s: float = LEASE_S
    starts: int = 0
    """Drivers started, of all sweeps."""
    logs: set[Path] = field(default_factory=set)
    _fruitless: int = 0
    _evaluated: int = 0

    @property
    def running(self) -> PlannedSweep:
        """Return the sweep that is driven."""
        assert self.sweep is not None
        return self.sweep

    @cached_property
    def ledger(self) -> Ledger:
        """Return the sweeps' database."""
        return Ledger(self.deployment.study_url)

    def begin(self, sweep: PlannedSweep) -> None:
        """Start the driver of a sweep."""
        self.sweep, self._fruitless, self._evaluated = sweep, 0, 0
        path = self.folder / f"{sweep.name}.yaml"
        path.write_text(yaml.safe_dump(dict(sweep.spec)))
        self._drive("run", str(path))

    def go_on(self) -> None:
        """Start another driver for the sweep."""
        self._drive("resume", self.running.name)

    def _drive(self, *arguments: str) -> None:
        environ = {**self.cluster.environ, **self.deployment.environ(self.running.checkpoints)}
        command = [sys.executable, "-m", DRIVER, *arguments, "--address", self.cluster.address]
        self.driver = self.cluster.head.start("driver", command, {**environ, "BPTT_LEASE_S": str(self.lease_s)})
        self.logs.add(self.driver.log)
        self.starts += 1

    def trials(self) -> list[TrialRecord]:
        """Return the sweep's trials as the database has them now; it is waited for where it is away."""
        try:
            return patiently(lambda: read_sweep(self.ledger, self.running.name)[1])
        except SweepNotFound:  # its driver is not that far yet
            return []

    def owner(self) -> str | None:
        """Return who holds the sweep."""
        return patiently(lambda: self.ledger.sweep(self.running.name).owner)

    def evaluated(self) -> int:
        """Return the evaluations that the sweep has made."""
        return sum(len(trial.evaluations) for trial in self.trials())

    def tend(self) -> bool:
        """Do what an operator does: replace what is gone. Returns whether the sweep is finished."""
        self.cluster.mend()
        if self.driver is not None and self.driver.status is None:
            return False
        if self.driver is not None and self.driver.status == 0:
            return True
        made = self.evaluated()
        self._fruitless = self._fruitless + 1 if made == self._evaluated else 0
        self._evaluated = made
        if self._fruitless > MOST_STARTS:
            raise RuntimeError(f"{MOST_STARTS} drivers in a row came to nothing:\n{self.said()[-6000:]}")
        self.go_on()
        return False

    def tend_for(self, seconds: float) -> None:
        """Let time pass, tended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.tend()
            time.sleep(0.3)

    def tend_until(self, holds: Callable[[], bool], timeout_s: float, what: str) -> float:
        """Wait until something holds, tending meanwhile; return the seconds that took. TimeoutError says what."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > timeout_s:
                raise TimeoutError(f"{what}: not within {timeout_s:g} s\n{self.said()[-6000:]}")
            self.tend()
            time.sleep(0.3)
        return time.monotonic() - began

    def said(self) -> str:
        """Return what all drivers have printed, host after host."""
        return "".join(log.read_text(errors="replace") for log in sorted(self.logs))


@contextmanager
def benched(folder: Path, *, nodes: int = 3) -> Iterator[Bench]:
    """Bring up network, servers and cluster, and take them down in the end."""
    with Network() as network, deployed(folder, network) as deployment:
        yield Bench(folder, network, deployment, RayCluster(network, folder, s3.KEYS, nodes=nodes))
