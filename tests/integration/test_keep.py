"""A sweep whose driver was killed is driven on by `bptt keep`, by one of several."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import read_sweep
from orchestrator.settings import Settings
from tests.fakes import KIND

pytestmark = pytest.mark.slow


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "orchestrator.cli", *arguments, "--runs", str(folder / "runs")]
    environment = {**os.environ, "BPTT_TRACKING_URI": "none"}
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def test_a_killed_sweep_is_driven_on_by_one_of_two_keepers(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep.yaml"
    spec = {
        "name": "kept",
        "workload": {"kind": KIND, "pause_s": 0.2},
        "space": {"quality": {"float": [0.1, 1.0]}},
        "budget": {"trials": 4, "sequence_steps": 5000, "evaluations": 5},
        "search": {"sampler": "random", "pruner": "none", "seed": 3},
    }
    sweep.write_text(yaml.safe_dump(spec))
    driver = start(tmp_path, "run", str(sweep), "--in-process")
    ledger = Ledger(Settings.load({"runs": tmp_path / "runs"}, environ={}).study_url)
    end = time.monotonic() + 120
    while not ledger.count_evaluations("kept"):
        assert time.monotonic() < end, (tmp_path / "log.txt").read_text()
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    keepers = [start(tmp_path, "keep", "--once") for _ in range(2)]
    assert [keeper.wait(timeout=240) for keeper in keepers] == [0, 0], (tmp_path / "log.txt").read_text()
    _, trials = read_sweep(ledger, "kept")
    assert [len(trial.evaluations) for trial in trials] == [5] * 4
    assert ledger.sweep("kept").state == "finished"
    assert start(tmp_path, "keep", "--once").wait(timeout=60) == 0  # nothing is left to do
