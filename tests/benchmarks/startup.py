"""How long `bptt run` takes to its first training step, and from its last trial's end until it is done.

The commands are those that a user types, on a folder of runs that is empty, with two trials so short that the end comes
soon; MLflow and its report are on. Times are taken by `milestones`, which looks into the driver and Ray's workers.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from tests.benchmarks.milestones import Call, calls, hook

ROUNDS, HELPS = 5, 20
BAR_S, HELP_BAR_S = 8.0, 0.3
WANTED = {
    "orchestrator.cli.run_command:drive": "drive",
    "orchestrator.driver:Driver.__init__": "database",
    "orchestrator.driver:Driver._recognise": "data",
    "orchestrator.executors.cluster:connect": "ray",
    "orchestrator.executors.ray:RayExecutor.open": "open",
    "orchestrator.executors.ray_worker:RemoteWorker.receive": "receive",
    "workloads.training:train": "train",
    "workloads.training:TrainingRun._update": "update",
    "orchestrator.sweep:Sweep._end": "end",
    "orchestrator.driver:Driver._finish": "finish",
    "orchestrator.executors.ray:RayExecutor.close": "close",
    "orchestrator.tracking.mlflow:MlflowTracker.register": "register",
    "orchestrator.tracking.mlflow:MlflowTracker.close": "track",
}


def sweep_file(folder: Path, text: str) -> Path:
    """Write the bundled `demo` over some text, with two trials that are over at once."""
    spec = yaml.safe_load(Path("workloads/sweeps/demo.yaml").read_text())
    spec["workload"]["text"] = text
    spec["budget"] = {"trials": 2, "sequence_steps": 20_000, "evaluations": 1}
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def run(text: str) -> dict[str, float]:
    """Run a sweep in a folder of its own; return seconds by what was reached, since the command began."""
    with tempfile.TemporaryDirectory(prefix="bptt-startup-") as place:
        folder = Path(place)
        environment = hook(folder, WANTED, first=("update", "train"))
        command = [sys.executable, "-m", "orchestrator.cli", "run", str(sweep_file(folder, text)), "--runs", place]
        began = time.time()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        spent: dict[int, float] = {}
        before_training_s = 0.0
        while process.poll() is None:
            spent |= cpu_seconds_below(process.pid)
            if not before_training_s and any(call.label == "update" for call in calls(folder)):
                before_training_s = sum(spent.values())
            time.sleep(0.05)
        ended = time.time()
        if process.returncode:
            raise RuntimeError((folder / "log").read_text())
        found = phases(calls(folder), began, ended)
        return {**found, "CPU s to first step": before_training_s, "CPU s in all": sum(spent.values())}


def cpu_seconds_below(process: int) -> dict[int, float]:
    """Return the CPU seconds of a process and all that it started, by number: what others do here does not count."""
    ticks = os.sysconf("SC_CLK_TCK")
    parents, spent = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(fields[1])
                spent[int(folder.name)] = (int(fields[11]) + int(fields[12])) / ticks
    below = {process}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return {each: spent[each] for each in below & spent.keys()}


def phases(found: list[Call], began: float, ended: float) -> dict[str, float]:
    """Return seconds since the command began, or that something took."""
    by = {call.label: call for call in reversed(found)}  # the first of each
    last = max(call.ended for call in found if call.label == "end")
    return {
        "command loaded": by["drive"].began - began,
        "database open": by["database"].ended - began,
        "data prepared": by["data"].began - began,
        "Ray started": by["ray"].ended - began,
        "workers asked for": by["open"].ended - began,
        "first worker there": by["receive"].began - began,
        "first worker ready": by["receive"].ended - began,
        "first training step": by["update"].began - began,
        "last trial to exit": ended - last,
        "  Ray shut down": by["close"].ended - by["close"].began,
        "  model registered": by["register"].ended - by["register"].began if "register" in by else 0.0,
        "  MLflow closed": by["track"].ended - by["track"].began if "track" in by else 0.0,
        "whole command": ended - began,
    }


def help_seconds() -> float:
    """Return how long `bptt --help` takes."""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "--help"], env=environment, capture_output=True, check=True
    )
    return time.perf_counter() - began


def main() -> None:
    """Print tables: the median of the rounds, and the spread."""
    helps = sorted(help_seconds() for _ in range(HELPS))
    print(
        f"\nbptt --help: median of {HELPS} {median(helps):.3f} s ({helps[0]:.3f} - {helps[-1]:.3f}); bar {HELP_BAR_S} s"
    )
    texts: dict[str, Any] = {"demo": "python-reference", "tinyshakespeare": "tinyshakespeare"}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in texts}
    for name, text in texts.items():
        run(text)  # whatever is cached at a first run is
        found[name] = []
    for _ in range(ROUNDS):
        for name, text in texts.items():
            found[name].append(run(text))
    for name, rounds in found.items():
        print(f"\nbptt run, {name}, {ROUNDS} rounds: seconds, median (least - most); bar {BAR_S:g} s to the first step")
        for phase in rounds[0]:
            values = sorted(each[phase] for each in rounds)
            print(f"{phase:<22} {median(values):7.2f}  ({values[0]:.2f} - {values[-1]:.2f})")


if __name__ == "__main__":
    main()
