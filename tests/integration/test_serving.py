"""The registered model of each workload behind MLflow's own server, asked over HTTP from a folder of its own.

Once in this environment, and once in one that has nothing but the five models' own requirements.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import platform
import re
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import run
from orchestrator.settings import Settings
from orchestrator.tracking.client import import_mlflow, talking_to
from orchestrator.tracking.model import load_predictions
from orchestrator.tracking.model_card import request
from tests.orchestrator.registering import train_and_register_all
from tests.serving import (
    KINDS,
    NEEDED,
    ask,
    columns_of,
    environment_of,
    free_port,
    listening,
    rows_of,
    served,
    small_spec,
    whistle,
)

pytestmark = [pytest.mark.serving, pytest.mark.timeout(1800)]

ROWS: dict[str, dict[str, list[Any]]] = {
    "language_model": {"prompt": ["the quick", "dog", "fox jumps over", ""]},
    "translation": {"source": ["number 7", "number 41", ""]},
    "speech": {"audio": [whistle("abc").tolist(), whistle("ca", 16000).tolist()], "sample_rate": [8000, 16000]},
    "memory": {"sequence": ["1 _ _ _ ?", "5 _ _ _ ?"]},
}
"""What is asked, many rows in one request; where rows are one history, the example logged with the model."""
OPTIONS: dict[str, dict[str, Any]] = {
    "language_model": {"length": 12, "temperature": 0.5, "seed": 3},
    "translation": {"beam_width": 2, "length_penalty": 1.0, "max_length": 20},
    "speech": {"beam_width": 4},
}
WRONG: dict[str, list[tuple[dict[str, list[Any]], dict[str, Any], str]]] = {
    "language_model": [
        ({"prompt": ["the"]}, {"length": -1}, "length, temperature and seed must not be negative"),
        ({"prompt": ["the"]}, {"length": "many"}, "length"),
        ({"prompt": ["the", 7]}, {}, "prompt: 7 in row 2 is no text"),
    ],
    "translation": [
        ({"source": ["number 1"]}, {"beam_width": 0}, "beam_width must be from 1 to"),
        ({"source": ["number 1", None]}, {}, "in row 2 is no text"),
    ],
    "forecast": [
        ({"date": ["2024-01-01"], "demand": ["much"]}, {}, "demand"),
        ({"date": [], "demand": []}, {}, "history: no rows"),
    ],
    "speech": [
        ({"audio": [[0.0, 0.5]], "sample_rate": [3]}, {}, "row 1: one channel at 1,000 Hz or more is needed"),
        ({"audio": ["loud"]}, {}, "audio"),
        ({"audio": [[0.0, "loud"]]}, {}, "audio"),
    ],
    "memory": [({"sequence": ["1 x ?"]}, {}, "'x' is no step; steps are _, ? and the symbols 0 to 7")],
}


@dataclass(frozen=True, slots=True)
class Registered:
    """A model, what it is asked, and what `bptt predict` answers."""

    uri: str
    settings: Settings
    columns: dict[str, list[Any]]
    options: dict[str, Any]
    answers: list[dict[str, Any]]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Registered]:
    """Train and register a model of every kind that can be trained here."""
    folder = tmp_path_factory.mktemp("served")
    settings = Settings.load({"runs": folder / "runs"}, environ={})
    trainable = [kind for kind in KINDS if kind not in NEEDED or importlib.util.find_spec(NEEDED[kind])]
    return {kind: register(settings, kind, folder / kind) for kind in trainable}


def register(settings: Settings, kind: str, folder: Path) -> Registered:
    spec = small_spec(kind, folder)
    train_and_register_all(settings, spec, {"truncation_length": 8})
    example = load_predictions(settings, spec.name).example
    assert example is not None
    columns, options = ROWS.get(kind) or columns_of(example), OPTIONS.get(kind, {})
    table = folder / "asked.jsonl"
    table.write_text("".join(f"{json.dumps(row)}\n" for row in rows_of(columns)))
    flags = [flag for option, value in options.items() for flag in ("--set", f"{option}={value}")]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert run(["predict", spec.name, str(table), "--json", "--runs", str(settings.runs), *flags]) == 0
    answers = [json.loads(line) for line in output.getvalue().splitlines()]
    return Registered(f"models:/{spec.name}@champion", settings, columns, options, answers)


@pytest.fixture(scope="module")
def clean_python(registered: dict[str, Registered], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment that has what the models say they require, and nothing else."""
    folder = tmp_path_factory.mktemp("clean")
    wanted: list[str] = []
    for kind, model in registered.items():
        with talking_to(model.settings):
            found = import_mlflow().artifacts.download_artifacts(
                f"{model.uri}/requirements.txt", dst_path=folder / kind
            )
        wanted += ["--requirement", str(found)]
    python = folder / "environment" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", python.parent.parent], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", *wanted], check=True)
    listed = json.loads(subprocess.check_output([python, "-m", "pip", "list", "--format", "json"], text=True))
    assert not {"bptt", "ray", "optuna", "soundfile"} & {package["name"] for package in listed}
    return python


def of_kind(registered: Mapping[str, Registered], kind: str) -> Registered:
    if kind not in registered:
        pytest.skip(f"{NEEDED[kind]} is not installed (the extra `{kind}`)")
    return registered[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_served_model_answers_as_predict_does_and_says_what_is_wrong(
    kind: str, registered: dict[str, Registered], tmp_path: Path
) -> None:
    model = of_kind(registered, kind)
    with served(model.uri, model.settings.tracking_uri, tmp_path) as url:
        see_health(url)
        see_answers(url, model)
        see_rows_apart(url, kind, model)
        for columns, options, said in WRONG[kind]:
            refused(url, request(columns, options), said)
        first = next(iter(model.columns)) if kind != "forecast" else "demand"
        refused(url, request({"nonsense": ["x"]}, {}), f"missing inputs ['{first}'")
        refused(url, {"data": [1]}, "exactly one of the input fields")
        refused(url, b"{nonsense", "valid JSON")


@pytest.mark.parametrize("kind", KINDS)
def test_in_an_environment_of_its_requirements_alone_it_answers_the_same(
    kind: str, registered: dict[str, Registered], clean_python: Path, tmp_path: Path
) -> None:
    model = of_kind(registered, kind)
    with served(model.uri, model.settings.tracking_uri, tmp_path, python=clean_python) as url:
        see_health(url)
        see_answers(url, model)


def test_a_container_is_built_of_the_model_alone_and_answers_the_same(
    registered: dict[str, Registered], clean_python: Path, tmp_path: Path
) -> None:
    """No image is built here: its context is read, and its entry point run on it in the clean environment."""
    model, context = registered["language_model"], tmp_path / "context"
    variables = environment_of(sys.executable, model.settings.tracking_uri)
    generate = ["-m", "mlflow", "models", "generate-dockerfile", "-m", model.uri, "-d", str(context)]
    subprocess.run([sys.executable, *generate], cwd=tmp_path, env=variables, check=True)
    text = (context / "Dockerfile").read_text()
    copied = re.search(r"^COPY (\S+) /opt/ml/model$", text, re.MULTILINE)
    entry = re.search(r'^ENTRYPOINT \["python", "-c", "(.+)"\]$', text, re.MULTILINE)
    assert copied is not None
    assert entry is not None
    assert f"FROM python:{platform.python_version()}-slim" in text
    assert f"pip install mlflow=={metadata.version('mlflow')}\n" in text
    assert str(tmp_path) not in text
    package = context / copied[1]
    requirements = (package / "requirements.txt").read_text().split()
    assert f"torch=={metadata.version('torch').partition('+')[0]}" in requirements
    assert all("==" in each for each in requirements)
    assert (package / "code" / "workloads" / "protocol.py").is_file()
    assert (package / "artifacts" / "checkpoint.ckpt").is_file()
    port = free_port()
    moved = f"C.MODEL_PATH = {str(package)!r}; C.DEFAULT_INFERENCE_SERVER_PORT = {port}"
    command = [str(clean_python), "-c", f"from mlflow.models import container as C; {moved}; {entry[1]}"]
    variables = environment_of(clean_python, "sqlite:///nowhere.db")
    variables |= {"DISABLE_NGINX": "true", "MLFLOW_DISABLE_ENV_CREATION": "true", "MLFLOW_MODELS_WORKERS": "1"}
    with listening(command, variables, tmp_path, port=port) as url:
        see_answers(url, model)


def see_health(url: str) -> None:
    for page in ("ping", "health"):
        with urllib.request.urlopen(f"{url}/{page}", timeout=30) as answer:
            assert answer.status == 200


def see_answers(url: str, model: Registered) -> None:
    """See that both forms of a table are answered as `bptt predict` does, to the last digit, by many at once too."""
    split = request(model.columns, model.options)
    records = {"dataframe_records": rows_of(model.columns), "params": model.options}
    with ThreadPoolExecutor(8) as clients:
        for status, answer in clients.map(lambda content: ask(url, content), [split, records] * 8):
            assert status == 200, answer
            assert answer == {"predictions": model.answers}


def see_rows_apart(url: str, kind: str, model: Registered) -> None:
    """See that a row is answered alone as among others, and that no rows have no answers."""
    if kind == "forecast":
        return  # its rows are one history
    for number, expected in enumerate(model.answers):
        row = {name: values[number : number + 1] for name, values in model.columns.items()}
        assert ask(url, request(row, model.options)) == (200, {"predictions": [expected]})
    nothing: dict[str, list[Any]] = {name: [] for name in model.columns}
    assert ask(url, request(nothing, model.options)) == (200, {"predictions": []})


def refused(url: str, content: Any, said: str) -> None:
    """See that a request is answered by 400 and a message that says what is wrong."""
    status, answer = ask(url, content)
    assert status == 400, answer
    assert said in answer["message"]
    assert "unexpected error" not in answer["message"]
