"""`bptt train`: one trial in this process, resumable, its mistakes told in one line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import run
from orchestrator.cli.train_view import TrainView
from tests.fakes import KIND
from workloads.protocol import Progress

SMALL = [
    *("--set", "hidden_size=8", "--set", "truncation_length=8", "--set", "batch_size=4"),
    *("--set", "sequence_steps=4e3", "--set", "evaluations=4", "--threads", "1"),
]
MEMORY = ["train", "memory", "--set", "lag=3", *SMALL]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BPTT_RUNS", raising=False)


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def losses(lines: list[dict[str, Any]]) -> list[float]:
    return [line["metrics"]["valid_loss"] for line in lines if line["event"] == "evaluation"]


def test_every_evaluation_is_a_line_and_the_best_stands_beside_the_baselines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(MEMORY) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "train_loss" in line] == ["1/4", "2/4", "3/4", "4/4"]
    best = next(line for line in lines if line.startswith("  valid_loss"))
    assert best.split()[2:] == ["chance", "2.0794"]
    checkpoint = next(line for line in lines if line.startswith("checkpoint:")).split()[1]
    assert Path(checkpoint).is_file()
    assert Path(checkpoint).is_relative_to(Path("bptt-runs/train"))


def test_json_is_one_object_for_each_evaluation_and_one_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*MEMORY, "--json"]) == 0
    *evaluations, end = json_lines(capsys.readouterr().out)
    assert [line["evaluation"] for line in evaluations] == [0, 1, 2, 3]
    assert end["event"] == "finished"
    assert end["best"]["metrics"]["valid_loss"] == min(losses(evaluations))
    assert end["baselines"]["chance/valid_accuracy"] == 0.125


def test_a_text_of_ones_own_is_trained_on_and_the_model_continues_a_prompt(
    text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "language_model", "--set", f"text={text_file}", *SMALL, "--out", "mine"]) == 0
    assert "--prompt" in capsys.readouterr().out
    assert run(["predict", "mine", "--prompt", "the quick", "--set", "length=5", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["text"].startswith("the quick")
    assert len(answer["text"]) == len("the quick") + 5


def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run([*MEMORY, "--out", "whole", "--json"]) == 0
    whole = losses(json_lines(capsys.readouterr().out))
    with monkeypatch.context() as patched:
        patched.setattr(TrainView, "evaluation", interrupt_after(2))
        assert run([*MEMORY, "--out", "halves", "--json"]) == 130
    record = tmp_path / "halves" / "evaluations.jsonl"
    record.write_text(record.read_text() + '{"evaluation": 2, "seq')  # a kill tears the line being written
    capsys.readouterr()
    assert run(["train", "memory", "--out", "halves", "--resume", "--threads", "1", "--json"]) == 0
    assert losses(json_lines(capsys.readouterr().out)) == whole[2:]
    assert [json.loads(line)["metrics"]["valid_loss"] for line in record.read_text().splitlines()] == whole


def interrupt_after(count: int) -> Callable[[TrainView, Progress], None]:
    """Return a view of evaluations that presses Ctrl-C at the one of that number."""

    def evaluation(view: TrainView, progress: Progress) -> None:
        if progress.evaluation + 1 == count:
            raise KeyboardInterrupt

    return evaluation


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_says_how_to_go_on_and_that_goes_on(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "with a space"
    arguments = ["train", KIND, "--set", "pause_s=0.3", "--set", "evaluations=5", "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    while "2/5" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.count("\n") == 1
    assert f"go on with: bptt train {KIND} --out '{out}' --resume" in errors
    assert run(["train", KIND, "--out", str(out), "--resume", "--json"]) == 0
    *evaluations, end = json_lines(capsys.readouterr().out)
    assert [line["evaluation"] for line in evaluations] == [2, 3, 4]
    assert end["best"]["evaluation"] == 4


def test_a_diverged_trial_is_one_line_and_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    for fate in ("diverge", "nan"):
        assert run(["train", KIND, "--set", f"fate={fate}", "--out", fate]) == 1
        errors = capsys.readouterr().err
        assert errors.startswith("bptt: diverged: ")
        assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["memory", "--set", "hiden_size=3"], "--set hiden_size: unknown; allowed: task, lag"),
        (["memory", "--set", "learning_rate=abc"], "--set learning_rate: 'abc'; it must be a number above 0"),
        (["memory", "--set", "learning_rate="], "--set learning_rate: null"),
        (["memory", "--set", "hidden_size=1.5"], "--set hidden_size: 1.5; it must be an integer"),
        (["memory", "--set", "lag=0"], "--set lag: 0; it must be an integer at least 2"),
        (["memory", "--set", "lag"], "--set lag: name=value is needed"),
        (["memory", "--set", "lag=3", "--set", "lag=4"], "--set lag: given twice"),
        (["memory", "--set", "sequence_steps=100"], "--set evaluations: "),
        (["memory", "--set", "hidden_size={a: [b"], "--set hidden_size: '{a: [b'"),
        (["language_model", "--set", "text=nowhere.txt"], "--set text: 'nowhere.txt' is neither a file"),
        (["nothing"], "WORKLOAD: 'nothing'; allowed: language_model"),
        (["nowhere:Nothing"], "WORKLOAD: nowhere:Nothing cannot be imported"),
        (["memory", "--resume"], "--resume: which run?"),
        (["memory", "--resume", "--out", "nowhere"], "holds no run"),
        ([KIND, "--set", "quality=-1"], "--set quality: -1; it must be from 0"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_field(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *arguments]) == 2
    errors = capsys.readouterr().err
    assert expected in errors
    assert errors.count("\n") == 1


def test_numbers_are_read_as_people_write_them(tmp_path: Path) -> None:
    rate = ["--set", "learning_rate=1e-3", "--set", "max_grad_norm=null", "--set", "lag=4.0"]
    assert run(["train", "memory", *SMALL, *rate, "--out", "numbers"]) == 0
    written = json.loads((tmp_path / "numbers" / "model.json").read_text())
    assert written["hyperparameters"]["learning_rate"] == 1e-3
    assert written["hyperparameters"]["sequence_steps"] == 4000
    assert written["hyperparameters"]["max_grad_norm"] is None
    assert written["options"]["lag"] == 4


def test_a_run_goes_on_only_as_it_began(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", KIND, "--out", "one"]) == 0
    for arguments, expected in [
        ([KIND, "--out", "one"], "holds a run already; add --resume"),
        (["memory", "--out", "one", "--resume"], f"WORKLOAD: memory; the run in one trains {KIND}"),
        ([KIND, "--out", "one", "--resume", "--set", "evaluations=7"], "the run in one has 10"),
    ]:
        capsys.readouterr()
        assert run(["train", *arguments]) == 2
        assert expected in capsys.readouterr().err
    model = tmp_path / "one" / "model.json"
    model.write_text(model.read_text().replace('"fingerprint": "', '"fingerprint": "x'))
    assert run(["train", KIND, "--out", "one", "--resume"]) == 2
    assert "the data have changed" in capsys.readouterr().err
