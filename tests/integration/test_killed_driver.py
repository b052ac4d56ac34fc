"""kill -9, again and again: nothing is lost but the evaluation under way, and nothing is counted twice."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import load_study, read_sweep
from orchestrator.settings import Settings
from orchestrator.trial import TrialState

pytestmark = pytest.mark.slow

TRIALS, EVALUATIONS, KILLS = 20, 5, 10
CHANGING = ("sequence_steps_per_second", "peak_memory_mb")


def write_sweep(folder: Path) -> Path:
    """Write a sweep of real training, small, whose settings do not depend on when a trial ends."""
    folder.mkdir(parents=True)
    text = folder / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 300)
    spec = {
        "name": "killed",
        "workload": {"kind": "language_model", "text": str(text)},
        "space": {"cell_type": ["rnn", "gru", "lstm"], "hidden_size": {"int": [16, 48]}, "dropout": [0.0, 0.2]},
        "train": {"truncation_length": 24, "k1": 8, "batch_size": 16, "num_layers": 2, "device": "cpu"},
        "budget": {"trials": TRIALS, "sequence_steps": 12_800, "evaluations": EVALUATIONS},
        "search": {"sampler": "random", "pruner": "none", "seed": 11},
    }
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def start(sweep: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "orchestrator.cli", "run", str(sweep), *arguments]
    log = (sweep.parent / "log.txt").open("ab")
    return subprocess.Popen(command, cwd=sweep.parent, stdout=log, stderr=log, start_new_session=True)


def finish(sweep: Path, *arguments: str) -> None:
    assert start(sweep, *arguments).wait(timeout=400) == 0, (sweep.parent / "log.txt").read_text()[-3000:]


def settings_of(sweep: Path) -> Settings:
    return Settings.load({"runs": sweep.parent / "bptt-runs"}, environ={})


def evaluations_so_far(sweep: Path) -> int:
    database = sweep.parent / "bptt-runs" / "study.db"
    if not database.exists():
        return 0
    with sqlite3.connect(database, timeout=30) as connection:
        try:
            return int(connection.execute("SELECT COUNT(*) FROM bptt_evaluation").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def kill_in_mid_work(sweep: Path, draw: random.Random, *arguments: str) -> None:
    """Start the driver, wait until it has trained something, and kill it at any moment after that."""
    driver = start(sweep, *arguments)
    before = evaluations_so_far(sweep)
    end = time.monotonic() + 120
    while evaluations_so_far(sweep) <= before and time.monotonic() < end:
        assert driver.poll() is None, (sweep.parent / "log.txt").read_text()[-3000:]
        time.sleep(0.02)
    time.sleep(draw.uniform(0, 0.5))
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL


def results(sweep: Path) -> dict[int, list[dict[str, float]]]:
    """Return every measured value of every trial but those that depend on the machine's mood."""
    _, trials = read_sweep(Ledger(settings_of(sweep).study_url), "killed")
    return {
        trial.number: [
            {name: value for name, value in progress.metrics.items() if name not in CHANGING}
            for progress in trial.evaluations
        ]
        for trial in trials
    }


def evaluations_in_mlflow(sweep: Path) -> Counter[tuple[str, int]]:
    """Count the rows of the objective by trial and step."""
    with sqlite3.connect(sweep.parent / "bptt-runs" / "mlflow.db") as connection:
        rows = connection.execute(
            "SELECT tags.value, metrics.step FROM metrics JOIN tags ON metrics.run_uuid = tags.run_uuid "
            "WHERE tags.key = 'bptt.trial' AND metrics.key = 'valid_loss'"
        ).fetchall()
    return Counter((str(trial), int(step)) for trial, step in rows)


@pytest.mark.parametrize("arguments", [("--in-process",), ("--workers", "2")], ids=["in-process", "ray"])
def test_a_sweep_whose_driver_is_killed_ten_times_equals_one_left_alone(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    alone, killed = write_sweep(tmp_path / "alone"), write_sweep(tmp_path / "killed")
    # The same text under the same path, so that the specs are the same.
    killed.write_text(alone.read_text())
    finish(alone, "--in-process")
    draw = random.Random(4)
    for _ in range(KILLS):
        kill_in_mid_work(killed, draw, *arguments)
    finish(killed, *arguments)

    ledger = Ledger(settings_of(killed).study_url)
    _, trials = read_sweep(ledger, "killed")
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert len(load_study(ledger, "killed").trials) == TRIALS
    assert results(killed) == results(alone)
    logged = evaluations_in_mlflow(killed)
    assert set(logged.values()) == {1}
    assert Counter(trial for trial, _ in logged) == {str(number): EVALUATIONS for number in range(TRIALS)}
