"""What a served model costs: latency and requests per second, beside a bare torch model behind the same server.

For each workload a small model is trained, registered and served by `mlflow models serve` with one worker. Beside it,
a bare torch model takes the same request under the same signature, and runs the same layers of `torch.nn` (the LSTM,
the layers before and after it) as often and on inputs of the same shapes: no text, no sound, no table, no search. So
the ratio is what everything round the network costs. Both servers are up at once and asked in turns, by clients that
keep their connections and ask without a pause. Run by `make bench-serving`.
"""

from __future__ import annotations

import http.client
import json
import math
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import nn

from orchestrator.settings import Settings
from orchestrator.tracking.client import import_mlflow
from orchestrator.tracking.model import LoadedModel, load_predictions
from orchestrator.tracking.model_card import request
from tests.orchestrator.registering import train_and_register_all
from tests.serving import KINDS, columns_of, served, small_spec, whistle

HIDDEN = 128
WARM_UP, ROUNDS, REQUESTS, CLIENTS = 16, 5, 40, (1, 8)
"""Each figure is of ROUNDS * REQUESTS requests."""
OPTIONS: dict[str, dict[str, Any]] = {"language_model": {"length": 50}}
ASKED: dict[str, dict[str, list[Any]]] = {"speech": {"audio": [whistle("abcabcab").tolist()], "sample_rate": [8000]}}
"""A second of sound; of the others, the example logged with the model."""
LAYERS = (nn.LSTM, nn.Linear, nn.Embedding)


@dataclass(slots=True)
class Side:
    """One of the two that are compared, and what was measured of it."""

    url: str
    seconds: list[float] = field(default_factory=list)
    whole_s: float = 0.0


def main() -> None:
    """Measure the workloads named, or all, and print a table."""
    torch.set_num_threads(1)
    columns = ("clients", "median", "99th", "requests/s", "bare: median", "99th", "requests/s", "median is", "requests")
    print("| workload | " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for kind in sys.argv[1:] or KINDS:
        with tempfile.TemporaryDirectory() as folder:
            measure(kind, Path(folder))


def measure(kind: str, folder: Path) -> None:
    """Serve a workload's model and the bare one, ask them in turns, and print what they take."""
    settings = Settings.load({"runs": folder / "runs"}, environ={})
    spec = small_spec(kind, folder, hidden_size=HIDDEN, learning_rate=0.005)
    train_and_register_all(settings, spec, {"truncation_length": 8})
    model = load_predictions(settings, spec.name)
    assert model.example is not None
    columns, options = ASKED.get(kind) or columns_of(model.example), OPTIONS.get(kind, {})
    pack_bare(model, columns, options, folder)
    body = json.dumps(request(columns, options)).encode()
    with (
        served(f"models:/{spec.name}@champion", settings.tracking_uri, folder) as ours,
        served(str(folder / "bare"), settings.tracking_uri, folder) as bare,
    ):
        for clients in CLIENTS:
            sides = Side(ours), Side(bare)
            for side in sides:
                load(Side(side.url), body, clients=clients, requests=WARM_UP)
            for _ in range(ROUNDS):
                for side in sides:
                    load(side, body, clients=clients, requests=REQUESTS)
            print(line(kind, clients, *sides), flush=True)


def pack_bare(model: LoadedModel, columns: Mapping[str, Any], options: Mapping[str, Any], folder: Path) -> None:
    """Save the layers that the model runs for a request, with what each call takes, as a model of their own."""
    import pandas

    table, calls = pandas.DataFrame(columns), list[tuple[nn.Module, tuple[Any, ...]]]()
    network = model._model.unwrap_python_model().predictor.network
    hooks = [
        layer.register_forward_pre_hook(lambda layer, inputs: calls.append((layer, inputs)))
        for layer in network.modules()
        if isinstance(layer, LAYERS)
    ]
    model.predict(table, options)
    for hook in hooks:
        hook.remove()
    torch.save(calls, folder / "calls.pt")
    import_mlflow().pyfunc.save_model(
        str(folder / "bare"),
        python_model=str(Path(__file__).with_name("bare_model.py")),
        artifacts={"calls": str(folder / "calls.pt")},
        signature=model.signature,
        input_example=table,
        pip_requirements=["mlflow", "torch", "pandas"],
    )


def load(side: Side, body: bytes, *, clients: int, requests: int) -> None:
    """Let clients ask at once; add the seconds of each answer, and of all together."""
    failures: list[str] = []
    threads = [
        threading.Thread(target=ask_on, args=(side, body, requests // clients, failures)) for _ in range(clients)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    side.whole_s += time.perf_counter() - began
    if failures:
        raise RuntimeError(failures[0])


def ask_on(side: Side, body: bytes, requests: int, failures: list[str]) -> None:
    """Ask again and again over one connection."""
    parts = urlsplit(side.url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=300)
    try:
        for _ in range(requests):
            began = time.perf_counter()
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            side.seconds.append(time.perf_counter() - began)
            if answer.status != 200:
                failures.append(text.decode()[:500])
                return
    except OSError as error:
        failures.append(f"{type(error).__name__}: {error}")
    finally:
        connection.close()


def line(kind: str, clients: int, ours: Side, bare: Side) -> str:
    """Return a row of the table."""
    cells = [kind, str(clients), *figures(ours), *figures(bare)]
    medians = statistics.median(ours.seconds) / statistics.median(bare.seconds)
    rates = rate(ours) / rate(bare)
    return "| " + " | ".join([*cells, f"{medians:.2f} x", f"{rates:.2f} x"]) + " |"


def figures(side: Side) -> tuple[str, str, str]:
    """Return median, 99th percentile (the smallest value that 99 % do not exceed) and requests per second."""
    slow = sorted(side.seconds)[math.ceil(0.99 * len(side.seconds)) - 1]
    return f"{1e3 * statistics.median(side.seconds):.1f} ms", f"{1e3 * slow:.1f} ms", f"{rate(side):.0f}"


def rate(side: Side) -> float:
    """Return requests per second."""
    return len(side.seconds) / side.whole_s


if __name__ == "__main__":
    main()
