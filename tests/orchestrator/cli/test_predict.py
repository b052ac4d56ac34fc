"""`bptt predict`: tables in, answers out, for registered models and checkpoints alike."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.cli.main import run
from orchestrator.driver import Driver
from orchestrator.executors.local import LocalExecutor
from orchestrator.settings import Settings
from orchestrator.spec import spec_from
from orchestrator.tracking import open_tracker
from tests.fakes import KIND

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> str:
    """A run of the workload that multiplies by the number of its evaluations, here 4."""
    monkeypatch.chdir(tmp_path)
    assert run(["train", KIND, "--set", "evaluations=4", "--out", "four"]) == 0
    capsys.readouterr()
    return "four"


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 50)
    small = [f"text={folder / 'text.txt'}", "hidden_size=4", "truncation_length=8", "batch_size=2"]
    settings = [part for each in [*small, "sequence_steps=100", "evaluations=1"] for part in ("--set", each)]
    assert run(["train", "language_model", *settings, "--out", str(folder / "model")]) == 0
    return str(folder / "model")


def write(path: Path, table: pd.DataFrame) -> str:
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_json(path, orient="records", lines=True)
    return str(path)


@pytest.mark.parametrize("name", ["table.csv", "table.jsonl", "table.parquet"])
def test_each_format_is_read_and_written(name: str, trained: str, tmp_path: Path, capsys: Capture) -> None:
    source = write(tmp_path / name, pd.DataFrame({"x": [1.5, 2.0]}))
    assert run(["predict", trained, source]) == 0
    assert pd.read_csv(io.StringIO(capsys.readouterr().out))["y"].tolist() == [6.0, 8.0]
    assert run(["predict", trained, source, "-o", f"answers-{name}"]) == 0
    assert capsys.readouterr().out == ""
    assert run(["predict", trained, source, "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [{"y": 6.0}, {"y": 8.0}]
    assert (tmp_path / f"answers-{name}").stat().st_size > 0


def test_a_pipe_of_json_lines_is_read(trained: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"x": 1}\n\n{"x": 2}\n'))
    assert run(["predict", trained, "-", "--json"]) == 0
    assert capsys.readouterr().out == '{"y":4}\n{"y":8}\n'


def test_a_checkpoint_is_as_good_as_its_folder(trained: str, tmp_path: Path, capsys: Capture) -> None:
    checkpoint = next(path for path in Path(trained).iterdir() if path.name.startswith("evaluation-"))
    source = write(tmp_path / "table.csv", pd.DataFrame({"x": [1]}))
    assert run(["predict", str(checkpoint), source]) == 0
    assert capsys.readouterr().out == "y\n4\n"


def test_without_input_the_model_says_what_it_takes(trained: str, text_model: str, capsys: Capture) -> None:
    assert run(["predict", trained]) == 0
    assert "takes a table of x" in capsys.readouterr().out
    assert run(["predict", text_model, "--json"]) == 0
    taken = json.loads(capsys.readouterr().out)
    assert list(taken["columns"]) == ["prompt"]
    assert taken["options"] == {"length": 100, "temperature": 0.8, "seed": 0}
    assert len(taken["example"]) == 1


def test_options_are_checked_by_name_and_type(text_model: str, capsys: Capture) -> None:
    for assignment, expected in [
        ("lenght=3", "--set lenght: unknown; the model takes length, temperature, seed"),
        ("length=abc", "--set length: 'abc'; it must be an integer"),
        ("temperature=[1]", "--set temperature: '[1]'; it must be a number"),
        ("length=-1", "must not be negative"),
    ]:
        assert run(["predict", text_model, "--prompt", "a", "--set", assignment]) == 2
        errors = capsys.readouterr().err
        assert expected in errors
        assert errors.count("\n") == 1
    assert run(["predict", text_model, "--prompt", "a", "--set", "temperature=0", "--set", "length=3", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["text"]) == 4


@pytest.mark.parametrize(
    ("arguments", "content", "expected"),
    [
        (["table.csv"], "", "table.csv is no csv table"),
        (["table.jsonl"], "{", "table.jsonl, line 1: not JSON"),
        (["table.jsonl"], "[1]", "table.jsonl, line 1: a JSON object is needed"),
        (["table.parquet"], "no", "table.parquet is no parquet table"),
        (["table.csv"], "x\n", "INPUT: no rows"),
        (["table.txt"], "x", "must end in .csv, .jsonl, .parquet"),
        (["nowhere.csv"], "", "nowhere.csv cannot be read"),
        (["--prompt", "a"], "", "takes no prompts but a table of x"),
        (["table.csv", "--prompt", "a"], "x\n1\n", "exclude each other"),
        (["table.csv", "-o", "out.xls"], "x\n1\n", "--output: out.xls"),
        (["table.csv", "-o", "no/where.csv"], "x\n1\n", "--output: no/where.csv cannot be written"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], content: str, expected: str, trained: str, tmp_path: Path, capsys: Capture
) -> None:
    if arguments[0] != "nowhere.csv":
        (tmp_path / arguments[0]).write_text(content)
    assert run(["predict", trained, *arguments]) == 2
    errors = capsys.readouterr().err
    assert expected in errors
    assert errors.count("\n") == 1


def test_a_missing_column_is_named(text_model: str, tmp_path: Path, capsys: Capture) -> None:
    assert run(["predict", text_model, write(tmp_path / "table.csv", pd.DataFrame({"z": ["a"]}))]) == 2
    assert capsys.readouterr().err == "bptt: INPUT: a column `prompt` is needed; given: z\n"


def test_a_model_that_is_nowhere_is_the_users_mistake(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "lost.ckpt").touch()
    for model, expected in [("none", "no model is registered"), (str(tmp_path / "lost.ckpt"), "no model.json beside")]:
        assert run(["predict", model, "--runs", str(tmp_path)]) == 2
        assert expected in capsys.readouterr().err
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.slow
def test_a_sweeps_champion_answers_by_the_sweeps_name(tmp_path: Path, capsys: Capture) -> None:
    spec = spec_from(
        {
            "name": "doubling",
            "workload": {"kind": KIND},
            "space": {"quality": {"choice": [0.5]}},
            "budget": {"trials": 1, "sequence_steps": 2000, "evaluations": 2},
        }
    )
    settings = Settings.load({"runs": tmp_path}, environ={})
    with Driver(settings, spec, executor=LocalExecutor(1), tracker=open_tracker(settings)) as driver:
        for _ in driver.run():
            pass
    capsys.readouterr()
    assert run(["predict", "doubling", "--runs", str(tmp_path)]) == 0
    assert "doubling takes a table of x" in capsys.readouterr().out
    source = write(tmp_path / "table.csv", pd.DataFrame({"x": [1.5, 2.0]}))
    assert run(["predict", "doubling", source, "--runs", str(tmp_path), "--json"]) == 0
    assert capsys.readouterr().out == '{"y":3.0}\n{"y":4.0}\n'
    assert run(["predict", "models:/doubling/9", source, "--runs", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
