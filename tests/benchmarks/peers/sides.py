"""The sides: how each is started, watched to its end, and asked afterwards what it trained."""

from __future__ import annotations

import ctypes
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from orchestrator.database.ledger import Ledger
from orchestrator.database.stints import read_stints
from orchestrator.database.stored import read_sweep
from tests.benchmarks.peers.bare_loop import PLAN
from tests.benchmarks.peers.figures import Run, TrainedTrial, run_of
from tests.benchmarks.peers.scenarios import (
    BARE,
    DEFAULT,
    METRIC,
    OURS,
    PROCESSES,
    THREADS,
    TORCHS,
    TUNED,
    WORKERS,
    Scenario,
    sweep_file,
)

ROOT = Path(__file__).parents[3]
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PEERS: dict[str, tuple[str, ...]] = {
    DEFAULT: ("ray_tune", "--way", "default"),
    TUNED: ("ray_tune", "--way", "tuned"),
    TORCHS: ("ray_tune", "--way", "tuned", "--kernel", "torch"),
    THREADS: ("optuna_alone", "--way", "threads"),
    PROCESSES: ("optuna_alone", "--way", "processes"),
    BARE: ("bare_loop",),
}
"""The module of each side but ours, and its options."""
UNTRACKED = (BARE,)
CALM_S = 60.0
"""How long what a side leaves running is waited for."""
PR_SET_CHILD_SUBREAPER = 36
BUSY_S = 0.5


@dataclass(frozen=True, slots=True)
class Round:
    """What all sides are given in one round."""

    scenario: Scenario
    number: int
    folder: Path

    def folder_of(self, side: str) -> Path:
        """Return where a side writes."""
        return self.folder / side.replace(" ", "-").replace(",", "").replace("'", "")


def adopt_orphans() -> None:
    """Have what a side leaves running become children of this process, to be waited for."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def environment() -> dict[str, str]:
    """Return the variables that all sides have: one thread each, compiled modules kept, no counting of usage."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AIR_NEW_OUTPUT": "0", "PYTHONWARNINGS": "ignore"}
    return {**kept, **quiet, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def command(side: str, given: Round) -> list[str]:
    """Return what is typed to run a side; what it reads lies in its folder."""
    folder = given.folder_of(side)
    if side == OURS:
        (folder / "sweep.json").write_text(json.dumps(sweep_file(given.scenario, given.number)), encoding="utf-8")
        bptt = str(Path(sys.executable).with_name("bptt"))
        return [bptt, "run", str(folder / "sweep.json"), "--workers", str(WORKERS), "--runs", str(folder)]
    if side == BARE:
        plan = [(dict(trial.chosen), len(trial.losses)) for trial in read_ours(given)]
        (folder / PLAN).write_text(json.dumps(plan), encoding="utf-8")
    module, *options = PEERS[side]
    asked = ["--scenario", given.scenario.name, "--trials", str(given.scenario.trials), "--seed", str(given.number)]
    return [
        *(str(PEERS_PYTHON), "-m", f"tests.benchmarks.peers.{module}"),
        *(*asked, "--folder", str(folder), *options),
    ]


def measure(side: str, given: Round) -> Run:
    """Run a side to its end; RuntimeError, with the end of its output, where it fails or tracks less than it trains."""
    folder = given.folder_of(side)
    folder.mkdir(parents=True)
    typed, share = command(side, given), free_share()
    with (folder / "output.txt").open("w", encoding="utf-8") as output:
        began = time.perf_counter()
        process = subprocess.Popen(typed, stdout=output, stderr=output, env=environment(), cwd=folder)
        status = process.wait()
        wall_s, ended = time.perf_counter() - began, time.time()
    if status:
        raise RuntimeError(
            f"{side} ended with {status}:\n{(folder / 'output.txt').read_text(encoding='utf-8')[-3000:]}"
        )
    wait_for_orphans()
    trials = read_ours(given) if side == OURS else read_notes(folder)
    measured = {"side": side, "round": given.number, "wall_s": wall_s, "ended": ended, "free_share": share}
    run = run_of(trials, given.scenario, measured)
    if side not in UNTRACKED:
        check_tracked(folder / "mlflow.db", run)
    return run


def wait_for_orphans() -> None:
    """Wait until nothing runs that a side has left behind, so that the next one has the machine to itself."""
    until = time.monotonic() + CALM_S
    while time.monotonic() < until:
        try:
            process, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not process:
            time.sleep(0.05)
    raise RuntimeError(f"something still runs {CALM_S:g} s after the side that started it has ended")


def free_share() -> float:
    """Return the part of a core that one busy process gets now: about 1 where nobody else is at work."""
    began, used = time.perf_counter(), time.process_time()
    while time.process_time() - used < BUSY_S:
        pass
    return BUSY_S / (time.perf_counter() - began)


def read_ours(given: Round) -> list[TrainedTrial]:
    """Return what ours trained, from its database."""
    ledger = Ledger(f"sqlite:///{given.folder_of(OURS) / 'study.db'}")
    _, records = read_sweep(ledger, given.scenario.name)
    began = {stint.trial: stint.began for stint in reversed(read_stints(ledger, given.scenario.name))}
    return [
        TrainedTrial(
            record.chosen,
            began[record.number],
            [progress.metrics[METRIC] for progress in record.evaluations],
            record.training_seconds,
        )
        for record in records
    ]


def read_notes(folder: Path) -> list[TrainedTrial]:
    """Return what a peer trained, from the notes of its processes."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(folder.glob("notes-*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            content = json.loads(line)
            lines.setdefault(content["trial"], []).append(content)
    return [
        TrainedTrial(first["chosen"], first["began"], [each["loss"] for each in rest], seconds_in_updates(rest))
        for first, *rest in lines.values()
    ]


def seconds_in_updates(evaluations: Sequence[Mapping[str, Any]]) -> float:
    """Return the seconds that a trial spent in updates, as our database counts them."""
    steps = [0, *(each["sequence_steps"] for each in evaluations)]
    pairs = zip(pairwise(steps), evaluations, strict=True)
    return float(sum((after - before) / each["rate"] for (before, after), each in pairs))


def check_tracked(database: Path, run: Run) -> None:
    """Raise RuntimeError where MLflow lacks a trial or an evaluation of a run."""
    with closing(sqlite3.connect(database)) as connection:
        values = connection.execute("SELECT COUNT(*) FROM metrics WHERE key = ?", (METRIC,)).fetchone()[0]
        runs = connection.execute("SELECT COUNT(DISTINCT run_uuid) FROM metrics WHERE key = ?", (METRIC,)).fetchone()[0]
    if runs < run.trials or values < run.evaluations:
        raise RuntimeError(
            f"{run.side}: MLflow has {runs} trials and {values} evaluations of {run.trials} and {run.evaluations}"
        )
