"""A driver that sleeps through its lease (SIGSTOP, a suspended machine) and wakes after another took the sweep over."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.database.ledger import Ledger
from orchestrator.settings import Settings

pytestmark = pytest.mark.slow

LEASE_S = 3.0
TRIALS, EVALUATIONS = 6, 10


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "orchestrator.cli", *arguments, "--in-process", "--tracking-uri", "none"]
    environ = {**os.environ, "BPTT_LEASE_S": str(LEASE_S)}
    return subprocess.Popen(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def fall_asleep(driver: subprocess.Popen[str], ledger: Ledger) -> None:
    """Pause a driver between two of its transactions: within one, SQLite's lock would be its own until it wakes."""
    while True:
        driver.send_signal(signal.SIGSTOP)
        try:
            with sqlite3.connect(ledger.url.removeprefix("sqlite:///"), timeout=0.2) as connection:
                connection.execute("BEGIN IMMEDIATE")
                return
        except sqlite3.OperationalError:
            driver.send_signal(signal.SIGCONT)
            time.sleep(0.1)


def everything(ledger: Ledger) -> list[Any]:
    """Return all that the sweeps' database holds, the lease's own course left out."""
    with sqlite3.connect(ledger.url.removeprefix("sqlite:///")) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [(table, connection.execute(f"SELECT * FROM {table}").fetchall()) for table in sorted(tables)]


def test_a_driver_that_slept_through_its_lease_writes_nothing(tmp_path: Path) -> None:
    spec = {
        "name": "slept",
        "workload": {"kind": "memory", "task": "copy", "lag": 3},
        "space": {"hidden_size": [8, 16]},
        "train": {"truncation_length": 8, "batch_size": 8},
        "budget": {"trials": TRIALS, "sequence_steps": 60_000, "evaluations": EVALUATIONS},
        "search": {"sampler": "random", "pruner": "none", "seed": 1},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(spec))
    sleeper = start(tmp_path, "run", "sweep.yaml")
    try:
        ledger = Ledger(Settings.load({"runs": tmp_path / "bptt-runs"}, environ={}).study_url)
        deadline = time.monotonic() + 240
        while not (row := [row for row in ledger.all() if row.owner]) or not ledger.evaluations("slept"):
            assert time.monotonic() < deadline
            assert sleeper.poll() is None
            time.sleep(0.1)
        fall_asleep(sleeper, ledger)
        time.sleep(LEASE_S + 0.5)
        successor = start(tmp_path, "resume", "slept")
        said, _ = successor.communicate(timeout=400)
        assert successor.returncode == 0, said
        before = everything(ledger)
        sleeper.send_signal(signal.SIGCONT)
        said, _ = sleeper.communicate(timeout=120)
    finally:
        sleeper.kill()
    assert sleeper.returncode == 1
    assert "another driver has taken slept over" in said
    assert everything(ledger) == before
    assert row[0].owner != ledger.sweep("slept").owner
    found = ledger.evaluations("slept")
    assert {number: len(evaluations) for number, evaluations in found.items()} == dict.fromkeys(
        range(TRIALS), EVALUATIONS
    )
