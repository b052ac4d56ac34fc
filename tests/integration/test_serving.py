"""The registered model of each workload behind MLflow's own server, asked over HTTP from a folder of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import run
from orchestrator.settings import Settings
from orchestrator.tracking.model import load_predictions
from orchestrator.tracking.model_card import request
from tests.orchestrator.registering import train_and_register_all
from tests.serving import KINDS, ask, columns_of, served, small_spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROWS = {
    "language_model": {"prompt": ["the quick", "dog", "fox jumps over"]},
    "translation": {"source": ["number 7", "number 41", ""]},
    "memory": {"sequence": ["1 _ _ _ ?", "5 _ _ _ ?"]},
}
"""What is asked, many rows in one request; of the others, the example logged with the model."""
OPTIONS: dict[str, dict[str, Any]] = {
    "language_model": {"length": 12, "temperature": 0.5, "seed": 3},
    "translation": {"beam_width": 2, "length_penalty": 1.0, "max_length": 20},
    "speech": {"beam_width": 4},
}
WRONG: dict[str, tuple[dict[str, list[Any]], dict[str, Any], str]] = {
    "language_model": ({"prompt": ["the"]}, {"length": -1}, "must not be negative"),
    "translation": ({"source": ["number 1"]}, {"beam_width": 0}, "beam_width must be from 1 to"),
    "forecast": ({"date": ["2024-01-01"], "demand": ["much"]}, {}, "demand"),
    "speech": ({"audio": [[0.0, 9.0, float("1e9")]], "sample_rate": [3]}, {}, "1,000 Hz or more"),
    "memory": ({"sequence": ["1 x ?"]}, {}, "is no step; steps are _, ? and the symbols 0 to 7"),
}
NEEDED = {"translation": "sentencepiece", "speech": "soundfile"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_served_model_answers_as_predict_does_and_says_what_is_wrong(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind in NEEDED:
        pytest.importorskip(NEEDED[kind], reason=f"the extra `{kind}` is not installed")
    settings = Settings.load({"runs": tmp_path / "runs"}, environ={})
    spec = small_spec(kind, tmp_path)
    train_and_register_all(settings, spec, {"truncation_length": 4})
    example = load_predictions(settings, spec.name).example
    assert example is not None
    columns = ROWS.get(kind) or columns_of(example)
    expected = predicted(settings, spec.name, columns, OPTIONS.get(kind, {}), capsys)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with served(f"models:/{spec.name}@champion", settings.tracking_uri, elsewhere) as url:
        status, answer = ask(url, request(columns, OPTIONS.get(kind, {})))
        assert status == 200, answer
        assert answer["predictions"] == [near(row) for row in expected]
        records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        assert ask(url, {"dataframe_records": records, "params": OPTIONS.get(kind, {})})[1] == answer
        wrong, options, said = WRONG[kind]
        refused(url, request(wrong, options), said)
        refused(url, request({"nonsense": ["x"]}, {}), f"missing inputs ['{next(iter(required(settings, spec.name)))}'")


def near(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row that equals another whose figures were rounded to fifteen decimals."""
    rounded = {name: pytest.approx(value, abs=1e-14) for name, value in row.items() if isinstance(value, float)}
    return {**row, **rounded}


def refused(url: str, content: dict[str, Any], said: str) -> None:
    """See that a request is answered by 400 and a message that says what is wrong."""
    status, answer = ask(url, content)
    assert status == 400, answer
    assert said in answer["message"]
    assert "unexpected error" not in answer["message"]


def required(settings: Settings, name: str) -> list[str]:
    """Return the columns that a model cannot do without."""
    inputs = load_predictions(settings, name).signature.inputs
    return list(inputs.required_input_names())


def predicted(
    settings: Settings,
    name: str,
    columns: dict[str, list[Any]],
    options: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> list[dict[str, Any]]:
    """Return what `bptt predict` answers."""
    table = settings.runs / "asked.jsonl"
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    table.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    flags = [flag for option, value in options.items() for flag in ("--set", f"{option}={value}")]
    capsys.readouterr()
    assert run(["predict", name, str(table), "--json", "--runs", str(settings.runs), *flags]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]
