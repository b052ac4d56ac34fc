"""Who has only the report trains the winner again: its command, pasted into a shell, comes to the same metric."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

SWEEP = {
    "name": "recall",
    "workload": {"kind": "memory", "task": "copy", "lag": 4, "symbols": 4},
    "space": {
        "cell_type": ["gru", "lstm"],
        "truncation_length": {"int": [2, 16], "log": True},
        "dropout": {"float": [0.0, 0.3]},
        "optimizer": ["Adam", "SGD"],
        "momentum": {"float": [0.5, 0.95], "when": {"optimizer": ["SGD"]}},
    },
    "train": {"hidden_size": 16, "batch_size": 16, "learning_rate": 5e-3, "num_layers": 2},
    "budget": {"trials": 4, "sequence_steps": 40_000, "evaluations": 3},
    "search": {"sampler": "random", "seed": 3},
    "resources": {"cpus": 1},
}


class Texts(HTMLParser):
    """Notes what stands in each element that has an id."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.by_id: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(dict(attrs).get("id") or "")

    def handle_endtag(self, tag: str) -> None:
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for name in filter(None, self.open):
            self.by_id[name] = self.by_id.get(name, "") + data


def bptt(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", *arguments], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_winner_of_a_sweep_on_ray_is_trained_again_from_its_report_alone(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    bptt(tmp_path, "run", "sweep.yaml", "--tracking-uri", "none", "--workers", "2")
    bptt(tmp_path, "report", "recall", "--html", "recall.html")
    reader = Texts()
    reader.feed((tmp_path / "recall.html").read_text(encoding="utf-8"))
    elsewhere = tmp_path / "the reader's"
    elsewhere.mkdir()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", reader.by_id["train-command"]],
        cwd=elsewhere,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (evaluations,) = elsewhere.glob("bptt-runs/train/*/evaluations.jsonl")
    last = json.loads(evaluations.read_text().splitlines()[-1])["metrics"]
    promised = re.search(r"comes to the same (\w+), \S+ \(([^)]+)\)", reader.by_id["reproduce"])
    assert promised is not None
    assert last[promised[1]] == float(promised[2])
