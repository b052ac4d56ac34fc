"""Ray on several hosts: a head that trains nothing, and nodes of one CPU each."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.hosts import Host, Network, Process

PORT = 6379
TOKEN = "7d1b9c52e8f04a6b" * 2
MOST_HEADS = 4
HEARD = {
    # A node is given up after 5 s without a sign, and a head after 10: in production that takes minutes.
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
    "RAY_raylet_start_wait_time_s": "30",
    "RAY_worker_register_timeout_seconds": "120",
}
RAY = str(Path(sys.executable).with_name("ray"))


def plain_environment() -> dict[str, str]:
    """Return this process's variables without those of ours, of Ray's and of the servers'."""
    ours = ("BPTT_", "RAY_", "MLFLOW_", "AWS_", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    python = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**kept, "PATH": python, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}


class RayCluster:
    """A head and its nodes, shut to whoever has no token; `environ` is what workers get to read checkpoints."""

    def __init__(self, network: Network, folder: Path, environ: Mapping[str, str], *, nodes: int) -> None:
        self._network, self._folder = network, folder
        self.environ = {**plain_environment(), **HEARD, **environ}
        self.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
        self._wanted = nodes
        self.nodes: list[tuple[Host, Process]] = []
        self._build()

    @property
    def address(self) -> str:
        """Return where drivers reach the head."""
        return f"{self.head.address}:{PORT}"

    def _build(self) -> None:
        """Start a head on a host of its own, anew where it does not come up."""
        for _ in range(MOST_HEADS):
            self.head = self._network.add(self._folder)
            self._head_process = self._start(self.head, "--head", f"--port={PORT}", "--num-cpus=0")
            while self._head_process.status is None:
                if has_started(self._head_process):
                    return
                time.sleep(0.2)
            self.head.lose()
        raise RuntimeError(f"no head of Ray comes up: {self._head_process.said()[-2000:]}")

    def _start(self, host: Host, *arguments: str) -> Process:
        command = [RAY, "start", "--block", "--disable-usage-stats", f"--node-ip-address={host.address}", *arguments]
        if "--head" in arguments:
            command += ["--include-dashboard=false", "--no-monitor"]
        return host.start("ray", [*command, f"--object-store-memory={80 * 2**20}"], self.environ)

    def mend(self) -> bool:
        """Replace what is gone, as an operator would: nodes by new ones; a cluster without its head by another.

        Nodes come one after the other: one that has no time to start its parts within 15 s gives up. Returns whether
        all of them are there.
        """
        if self._head_process.status is not None:
            self.lose()
            self._build()
        for host, process in list(self.nodes):
            if process.status is not None or not host.is_there:
                host.lose()
                self.nodes.remove((host, process))
        if not all(has_started(process) for _, process in self.nodes):
            return False
        if len(self.nodes) == self._wanted:
            return True
        host = self._network.add(self._folder)
        self.nodes.append((host, self._start(host, f"--address={self.address}", "--num-cpus=1")))
        return False

    def wait_for_nodes(self, timeout_s: float) -> None:
        """Mend until all nodes are there; TimeoutError where they do not come."""
        end = time.monotonic() + timeout_s
        while not self.mend():
            if time.monotonic() > end:
                raise TimeoutError("the nodes of Ray do not come up")
            time.sleep(0.3)

    def lose(self) -> None:
        """Lose every host of the cluster, with all that runs there."""
        for host in [self.head, *(host for host, _ in self.nodes)]:
            host.lose()
        self.nodes = []


def has_started(process: Process) -> bool:
    """Tell whether `ray start` has brought everything up."""
    return "Ray runtime started" in process.said()
