"""The registered model in an environment that has nothing but the model's own requirements."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.settings import Settings
from orchestrator.tracking.client import import_mlflow, talking_to
from tests.orchestrator.recorded import fox_spec
from tests.orchestrator.test_model import predict_elsewhere, train_and_register

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_the_champion_needs_its_requirements_and_nothing_else(tmp_path: Path) -> None:
    settings = Settings.load({"runs": tmp_path / "runs"}, environ={})
    spec = fox_spec(tmp_path)
    _, model, _ = train_and_register(settings, spec, truncation_length=8)
    with talking_to(settings):
        wanted = import_mlflow().artifacts.download_artifacts("models:/fox@champion/requirements.txt")
    python = tmp_path / "clean" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", python.parent.parent], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", wanted], check=True)
    installed = json.loads(subprocess.check_output([python, "-m", "pip", "list", "--format", "json"], text=True))
    assert not {"bptt", "ray", "optuna"} & {package["name"] for package in installed}
    found = predict_elsewhere(settings, "models:/fox@champion", tmp_path, str(python), length=20, seed=1)
    columns, _ = model.predictor.example()
    assert found["answers"] == model.predictor.predict(columns, {"length": 20, "seed": 1})
    assert found["from"].startswith(found["model"] + "/code/")
