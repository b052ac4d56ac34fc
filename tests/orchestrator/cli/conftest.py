"""The command line called in this process, on a runs folder of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.checkpoints.storage import seal
from orchestrator.cli.main import run
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from tests.kubernetes import Cluster, call_in_process, fake_cluster, kubectl_is_here


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    status: int
    out: str
    err: str


Bptt = Callable[..., Answer]


def trained_checkpoint(folder: Path, kind: str, content: bytes, **options: Any) -> str:
    """Write a folder as `bptt train` leaves it, and return the path of its checkpoint."""
    model = {"kind": kind, "options": options, "hyperparameters": {}, "fingerprint": "0" * 16, "baselines": {}}
    (folder / "model.json").write_text(json.dumps(model))
    (folder / "evaluation-00000.ckpt").write_bytes(seal(content))
    return str(folder / "evaluation-00000.ckpt")


@pytest.fixture
def bptt(sweep_settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bptt:
    """Return a function that calls `bptt` with the test's runs folder, without tracking."""
    monkeypatch.setenv("BPTT_RUNS", str(sweep_settings.runs))
    monkeypatch.setenv("BPTT_TRACKING_URI", "none")
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Answer(status, captured.out, captured.err)

    return call


@pytest.fixture
def sweep_file(tmp_path: Path) -> Callable[[SweepSpec], Path]:
    """Return a function that writes a spec as a sweep file."""

    def write(spec: SweepSpec) -> Path:
        path = tmp_path / f"{spec.name}.yaml"
        path.write_text(yaml.safe_dump(spec.plain()))
        return path

    return write


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Return a Kubernetes cluster with nothing of ours yet; skip where the real kubectl is not here to render."""
    if not kubectl_is_here():
        pytest.skip("kubectl is not installed")
    monkeypatch.setattr("orchestrator.kubernetes.kubectl._call", call_in_process)
    monkeypatch.setattr("orchestrator.kubernetes.install.LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("orchestrator.cli.k8s_submit.LOOK_EVERY_S", 0.0)
    return fake_cluster(tmp_path, monkeypatch)
