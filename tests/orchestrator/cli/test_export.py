"""`bptt export`: files by name, and mistakes in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.main import run
from tests.fakes import KIND
from tests.orchestrator.cli.conftest import trained_checkpoint
from tests.workloads.untrained import checkpoint
from workloads.tasks.next_token import make_network

Capture = pytest.CaptureFixture[str]

ELSEWHERE = """
import json, sys

import torch

files = {"bptt.json": ""}
step = torch.export.load(sys.argv[1], extra_files=files).module()
about = json.loads(files["bptt.json"])
vocabulary = about["facts"]["vocabulary"]
state = [torch.zeros([1 if size == "batch" else size for size in each["shape"]]) for each in about["state"]]
text = sys.argv[2]
for _ in range(8):
    for letter in text[-1:] if _ else text:
        logits, *state = step(torch.tensor([vocabulary.index(letter)]), *state)
    text += vocabulary[1 + int(logits[0, 1:].argmax())]
print(json.dumps({"text": text, "ours": [name for name in sys.modules if name in ("workloads", "orchestrator")]}))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    content = checkpoint(make_network, {"vocabulary": ["?", *"the quick"], "unit": "character"}, "lstm")
    return trained_checkpoint(tmp_path_factory.mktemp("text"), "language_model", content)


@pytest.mark.slow
def test_a_file_writes_on_as_the_model_does_where_this_project_is_not(
    model: str, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "model.pt2"
    assert run(["export", model, "--format", "torch", "--output", str(file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["file"] == str(file)
    assert said["difference"] <= 1e-5
    assert said["input"] == {"shape": ["batch"], "dtype": "int64"}
    prompt = ["--prompt", "the q", "--set", "temperature=0", "--set", "length=8", "--json"]
    assert run(["predict", model, *prompt]) == 0
    expected = json.loads(capsys.readouterr().out)["text"]
    command = [sys.executable, "-P", "-c", ELSEWHERE, str(file), "the q"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env={})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"text": expected, "ours": []}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--format", "onnx", "--output", "model.pt2"], "with --format onnx its name must end in .onnx"),
        (["--format", "torch", "--output", "no/model.pt2"], "there is no folder no"),
        (["--format", "tflite", "--output", "model.pt2"], "'tflite' is not one of 'torch', 'onnx'"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], expected: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", model, *arguments]) == 2
    errors = capsys.readouterr().err
    assert expected in errors
    assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_workload_without_a_network_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", KIND, "--set", "evaluations=1", "--out", "one"]) == 0
    assert run(["export", "one", "--format", "torch", "-o", "one.pt2"]) == 2
    assert "its workload keeps no network to be exported" in capsys.readouterr().err
