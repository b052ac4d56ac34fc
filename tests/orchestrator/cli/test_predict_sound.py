"""Recordings given to `bptt predict` by their names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from orchestrator.cli.main import run

soundfile = pytest.importorskip("soundfile", reason="the extra `speech` is not installed")
pytest.importorskip("jiwer", reason="the extra `speech` is not installed")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    random = np.random.default_rng(0)
    rows = []
    for number in range(12):
        soundfile.write(folder / f"{number}.wav", random.normal(0, 0.1, 4000), 8000)
        rows.append({"path": f"{number}.wav", "transcript": "ab", "speaker": f"s{number % 6}"})
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = {
        "corpus": folder / "m.jsonl",
        "hidden_size": 8,
        "sequence_steps": 200,
        "evaluations": 1,
        "batch_size": 4,
    }
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    assert run(["train", "speech", *given, "--out", str(folder / "run")]) == 0
    return folder


Predict = Callable[..., tuple[int, str]]


@pytest.fixture
def predict(capsys: pytest.CaptureFixture[str]) -> Predict:
    def call(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        status = run(["predict", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return call


def test_a_recording_and_a_table_of_recordings_are_transcribed(trained: Path, tmp_path: Path, predict: Predict) -> None:
    status, output = predict(trained / "run", trained / "0.wav", "--json")
    assert status == 0, output
    assert list(json.loads(output)) == ["transcript"]
    table = tmp_path / "table.csv"
    table.write_text(f"path\n{trained / '0.wav'}\n{trained / '1.wav'}\n")
    status, output = predict(trained / "run", table, "--json", "--set", "beam_width=3")
    assert status == 0
    assert len(output.splitlines()) == 2


def test_samples_as_json_are_transcribed(trained: Path, tmp_path: Path, predict: Predict) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"audio": [0.1, -0.1] * 1000, "sample_rate": 8000}) + "\n")
    status, output = predict(trained / "run", rows, "--json")
    assert status == 0, output


def test_a_recording_that_is_none_is_the_users_mistake(trained: Path, tmp_path: Path, predict: Predict) -> None:
    (tmp_path / "torn.wav").write_bytes((trained / "0.wav").read_bytes()[:3000])
    status, output = predict(trained / "run", tmp_path / "torn.wav")
    assert status == 2
    assert output.strip() == f"bptt: INPUT: {tmp_path / 'torn.wav'}: truncated: fewer samples than the file announces"
    assert predict(trained / "run", tmp_path / "none.wav")[0] == 2


def test_a_model_that_needs_the_whole_recording_is_not_fed_piece_by_piece(trained: Path, predict: Predict) -> None:
    status, output = predict(trained / "run", trained / "0.wav", "--stream")
    assert status == 2
    assert output.startswith("bptt: --stream: the model was trained with normalize: band, which needs the whole")


def test_what_the_model_takes_is_said_in_a_few_lines(trained: Path, predict: Predict) -> None:
    status, output = predict(trained / "run")
    assert status == 0
    assert "recording.wav" in output
    assert len(output) < 1500
