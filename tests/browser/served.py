"""A sweep that was run for real, and the MLflow UI on it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.settings import Settings
from orchestrator.tracking.client import open_client

BPTT = (sys.executable, "-m", "orchestrator.cli")


@dataclass(frozen=True)
class Shown:
    """Where the MLflow UI shows a sweep: paths behind its address, and what is to be seen there."""

    name: str
    experiment: str
    parent: str
    """The sweep's run."""
    trials: dict[str, str]
    """The trials' runs by their names, in the order of their numbers."""
    champion: str
    """The run of the trial whose model is registered; empty where none is."""

    def runs(self) -> str:
        """Return the path of the table of runs."""
        return f"/#/experiments/{self.experiment}/runs"

    def run(self, run_id: str, tab: str = "") -> str:
        """Return the path of a run's page, or of one of its tabs."""
        return f"/#/experiments/{self.experiment}/runs/{run_id}{tab}"


def look_up(settings: Settings, name: str) -> Shown:
    """Find a sweep in the settings' MLflow."""
    client = open_client(settings)
    experiments = [found.experiment_id for found in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.`bptt.sweep` = '{name}'", max_results=5000)
    (parent,) = (run for run in runs if run.data.tags.get("bptt.role") == "sweep")
    trials = {run.info.run_name: run.info.run_id for run in runs if "bptt.trial" in run.data.tags}
    champions = client.search_model_versions(f"name = '{name}'")
    return Shown(
        name,
        parent.info.experiment_id,
        parent.info.run_id,
        dict(sorted(trials.items())),
        champions[0].run_id if champions else "",
    )


@contextmanager
def serving(runs: Path) -> Iterator[str]:
    """Run `bptt ui` on a folder of runs for as long as the block; yield the page that it says to open."""
    arguments = ["ui", "--runs", str(runs), "--port", str(free_port()), "--no-browser"]
    with subprocess.Popen([*BPTT, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"MLflow UI at (\S+)", line)
            if found is None:
                raise RuntimeError(f"bptt ui said {line!r}")
            yield found[1]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
