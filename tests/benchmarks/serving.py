"""What a served model costs: latency and requests per second, beside a bare torch model behind the same server.

For each workload a small model is trained, registered and served by `mlflow models serve` with one worker. Beside it, a
bare `torch.nn.LSTM` of the same size with a linear layer, saved by MLflow's own torch flavour, reads as many steps in
one call, as tensors: no text, no sound, no table, no search. Clients keep their connections and ask without a pause.
Run by `make bench-serving`.
"""

from __future__ import annotations

import http.client
import json
import math
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from orchestrator.settings import Settings
from orchestrator.tracking.client import import_mlflow
from orchestrator.tracking.model import load_predictions
from orchestrator.tracking.model_card import request
from tests.orchestrator.registering import train_and_register_all
from tests.serving import KINDS, columns_of, served, small_spec

HIDDEN, FEATURES = 128, 32
WARM_UP, REQUESTS, CLIENTS = 10, 200, (1, 8)
OPTIONS: dict[str, dict[str, Any]] = {"language_model": {"length": 50}}
STEPS = {"language_model": 53, "translation": 20, "forecast": 180, "speech": 4, "memory": 5}
"""Recurrent steps that a request takes, about: the prompt and its continuation, sentences, the history, a tone."""


class Bare(nn.Module):
    """A network without anything round it."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.output = nn.LSTM(FEATURES, HIDDEN, batch_first=True), nn.Linear(HIDDEN, FEATURES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what follows the last step: (batch, features)."""
        last: Tensor = self.output(self.recurrent(inputs)[0][:, -1])
        return last


def main() -> None:
    """Measure every workload, and print a table."""
    print(f"{'served model':<34} {'clients':>7} {'median':>9} {'99th':>9} {'requests/s':>10}")
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            measure(kind, Path(folder))


def measure(kind: str, folder: Path) -> None:
    """Serve a workload's model and the bare one, one after the other, and print what they take."""
    settings = Settings.load({"runs": folder / "runs"}, environ={})
    spec = small_spec(kind, folder, hidden_size=HIDDEN)
    train_and_register_all(settings, spec, {"truncation_length": 4})
    example = load_predictions(settings, spec.name).example
    assert example is not None
    columns = columns_of(example)
    bare = torch.zeros(1, STEPS[kind], FEATURES).tolist()
    import_mlflow().pytorch.save_model(
        Bare().eval(),
        str(folder / "bare"),
        input_example=torch.zeros(1, STEPS[kind], FEATURES).numpy(),
        pip_requirements=["torch"],
        serialization_format="pickle",
    )
    for name, model, content in (
        (kind, f"models:/{spec.name}@champion", request(columns, OPTIONS.get(kind, {}))),
        (f"  a bare LSTM, {STEPS[kind]} steps", str(folder / "bare"), {"inputs": bare}),
    ):
        with served(model, settings.tracking_uri, folder) as url:
            load(url, content, clients=1, requests=WARM_UP)
            for clients in CLIENTS:
                report(name, clients, *load(url, content, clients=clients, requests=REQUESTS))


def load(url: str, content: Mapping[str, Any], *, clients: int, requests: int) -> tuple[list[float], float]:
    """Let clients ask at once; return the seconds of each answer, and of all together."""
    body, seconds = json.dumps(content).encode(), list[float]()
    failures: list[str] = []
    threads = [
        threading.Thread(target=ask_on, args=(url, body, requests // clients, seconds, failures))
        for _ in range(clients)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(failures[0])
    return seconds, time.perf_counter() - began


def ask_on(url: str, body: bytes, requests: int, seconds: list[float], failures: list[str]) -> None:
    """Ask again and again over one connection."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=300)
    for _ in range(requests):
        began = time.perf_counter()
        connection.request("POST", parts.path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        seconds.append(time.perf_counter() - began)
        if answer.status != 200:
            failures.append(text.decode()[:500])
            return


def report(name: str, clients: int, seconds: list[float], whole_s: float) -> None:
    """Print a line of the table."""
    slow = sorted(seconds)[math.ceil(0.99 * len(seconds)) - 1]
    median = statistics.median(seconds)
    print(f"{name:<34} {clients:>7} {1e3 * median:>6.1f} ms {1e3 * slow:>6.1f} ms {len(seconds) / whole_s:>10.1f}")


if __name__ == "__main__":
    main()
