"""A registered model of each workload, small, and MLflow's server in front of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.spec import SweepSpec, spec_from

STARTING_S = 180.0
KINDS = ("language_model", "translation", "forecast", "speech", "memory")
NEEDED = {"translation": "sentencepiece", "speech": "soundfile"}
"""The packages of extras without which a kind cannot be trained."""

STEPS = {"translation": 10_000, "speech": 20_000, "memory": 20_000}
"""Sequence steps that it takes until a small network answers rightly; 2,000 of the others."""


def workload_of(kind: str, folder: Path) -> dict[str, Any]:
    """Return a small workload of a kind, its data written into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "language_model":
        (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 50)
        return {"kind": kind, "text": str(folder / "text.txt")}
    if kind == "translation":
        (folder / "pairs.tsv").write_text("".join(f"number {n}\tnombre {n}\n" for n in range(100)))
        return {"kind": kind, "corpus": str(folder / "pairs.tsv"), "vocabulary_size": 40}
    if kind == "forecast":
        table = pd.DataFrame({"date": pd.date_range("2024-01-01", periods=300), "demand": np.arange(300) * 7 % 24})
        table.to_csv(folder / "table.csv", index=False)
        return {"kind": kind, "series": str(folder / "table.csv"), "target": "demand"}
    if kind == "speech":
        return {"kind": kind, "corpus": str(write_whistles(folder)), "mel_bands": 12}
    return {"kind": kind, "lag": 5}


def whistle(text: str, rate: int = 8000) -> np.ndarray:
    """Return an eighth of a second of a tone for each letter of a text."""
    times = np.arange(rate // 8) / rate
    return 0.5 * np.concatenate([np.sin(2 * np.pi * 400 * 2 ** "abc".index(letter) * times) for letter in text])


def write_whistles(folder: Path) -> Path:
    """Write recordings of three tones, spelled a, b and c."""
    import soundfile

    random, rows = np.random.default_rng(0), []
    for number in range(24):
        text = "".join(random.choice(["a", "b", "c"], 3))
        soundfile.write(folder / f"{number}.wav", whistle(text), 8000)
        rows.append({"path": f"{number}.wav", "transcript": text, "speaker": f"speaker {number % 12}"})
    (folder / "whistles.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "whistles.jsonl"


def small_spec(kind: str, folder: Path, **train: Any) -> SweepSpec:
    """Return a sweep of one short trial."""
    return spec_from(
        {
            "name": kind.replace("_", "-"),
            "workload": workload_of(kind, folder),
            "space": {"truncation_length": [4, 8]},
            "train": {"hidden_size": 16, "batch_size": 4, "learning_rate": 0.02, **train},
            "budget": {"trials": 1, "sequence_steps": STEPS.get(kind, 2000), "evaluations": 1},
        }
    )


def columns_of(example: pd.DataFrame) -> dict[str, list[Any]]:
    """Return a model's example as plain columns, dates as texts."""
    table = json.loads(example.to_json(orient="split"))
    return {name: [row[place] for row in table["data"]] for place, name in enumerate(table["columns"])}


def rows_of(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Return columns as rows, `dataframe_records`."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def environment_of(python: str | Path, tracking_uri: str) -> dict[str, str]:
    """Return the variables of a process that runs in the environment of `python`, this project not on its path."""
    path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"  # where uvicorn is
    variables = {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": tracking_uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    variables.pop("PYTHONPATH", None)
    return variables


@contextmanager
def served(model: str, tracking_uri: str, folder: Path, *, python: str | Path = sys.executable) -> Iterator[str]:
    """Let `mlflow models serve` serve a model from `folder`, where this project is not; yield the server's address."""
    port = free_port()
    serve = ["-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local", "--workers", "1"]
    command = [str(python), *serve, "--port", str(port)]
    with listening(command, environment_of(python, tracking_uri), folder, port=port) as url:
        yield url


@contextmanager
def listening(command: Sequence[str], variables: Mapping[str, str], folder: Path, *, port: int) -> Iterator[str]:
    """Run a server until the block ends; yield its address once it answers."""
    url, log = f"http://127.0.0.1:{port}", folder / f"serve-{port}.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until_up(f"{url}/ping", server, log)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def wait_until_up(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Return once the server answers."""
    deadline = time.monotonic() + STARTING_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.2)
    raise AssertionError(f"no answer within {STARTING_S:g} s: {log.read_text()}")


def ask(url: str, content: Any) -> tuple[int, Any]:
    """Return the status and the JSON of the answer to a table; `content` of bytes is sent as it is."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
