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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.spec import SweepSpec, spec_from

STARTING_S = 180.0
KINDS = ("language_model", "translation", "forecast", "speech", "memory")


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def workload_of(kind: str, folder: Path) -> dict[str, Any]:
    """Return a small workload of a kind, its data written into the folder."""
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


def write_whistles(folder: Path) -> Path:
    """Write recordings of three tones, spelled a, b and c."""
    import soundfile

    random, rows = np.random.default_rng(0), []
    for number in range(24):
        text = "".join(random.choice(["a", "b", "c"], 3))
        sound = [np.sin(2 * np.pi * 400 * 2 ** "abc".index(letter) * np.arange(1000) / 8000) for letter in text]
        soundfile.write(folder / f"{number}.wav", 0.5 * np.concatenate(sound), 8000)
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
            "train": {"hidden_size": 16, "batch_size": 4, **train},
            "budget": {"trials": 1, "sequence_steps": 2000, "evaluations": 1},
        }
    )


def columns_of(example: pd.DataFrame) -> dict[str, list[Any]]:
    """Return a model's example as plain columns, dates as texts."""
    table = json.loads(example.to_json(orient="split"))
    return {name: [row[place] for row in table["data"]] for place, name in enumerate(table["columns"])}


@contextmanager
def served(model: str, tracking_uri: str, folder: Path) -> Iterator[str]:
    """Serve a model from `folder`, where this project is not; yield the address to ask, `.../invocations`."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where uvicorn is
    environment.pop("PYTHONPATH", None)
    log = folder / f"serve-{port}.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "--port", str(port), "--workers", "1"],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until_up(f"http://127.0.0.1:{port}/ping", server, log)
        yield f"http://127.0.0.1:{port}/invocations"
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
    """Return the status and the JSON of an answer."""
    request = urllib.request.Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
