"""Train every setting of three small grids to its end and keep the curves: what the replay answers from.

    python -m tests.benchmarks.quality.record language 0 2   # every other setting, from the first: one of two processes
    python -m tests.benchmarks.quality.record --pack         # when all are done: into the tables beside this file
    python -m tests.benchmarks.quality.record --check memory # train 60 settings off the grid beside what the table says

It takes about twenty minutes of one core for each workload. Seconds are those that the process had of a core, training,
evaluation and checkpoint counted, so that others on the machine change them little. A broken recording goes on.
"""

from __future__ import annotations

import gzip
import itertools
import json
import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PARTS = Path("bench-quality-parts")
"""Where recordings under way lie: in the folder that the command is run in."""
EVALUATIONS = 15
CELLS = ["rnn", "gru", "lstm"]


@dataclass(frozen=True)
class Recording:
    """A workload, and the grid of settings trained in it."""

    kind: str
    options: dict[str, Any]
    train: dict[str, Any]
    sequence_steps: int
    grid: dict[str, list[Any]]

    def settings(self) -> list[dict[str, Any]]:
        """Return every setting, shuffled, so that a part of a recording says something of the whole."""
        found = [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]
        random.Random(0).shuffle(found)
        return found


RATES = [3e-4, 1e-3, 3e-3, 1e-2, 3e-2]
RECORDINGS = {
    "language": Recording(
        "language_model",
        {"text": "python-reference", "unit": "character", "valid_part": 0.03},
        {"batch_size": 32},
        50_000,
        {
            "cell_type": CELLS,
            "hidden_size": [16, 48, 128],
            "truncation_length": [6, 24, 96],
            "learning_rate": [*RATES[1:], 1e-1],
        },
    ),
    "forecast": Recording(
        "forecast",
        {"series": "seattle-weather", "covariates": ["precipitation", "temp_min", "wind"], "horizon": 7},
        {"batch_size": 8, "dropout": 0.2, "schedule": "CosineAnnealingLR"},
        30_000,
        {
            "cell_type": CELLS,
            "hidden_size": [8, 24, 64],
            "truncation_length": [4, 20, 100],
            "learning_rate": RATES,
        },
    ),
    # k1 is fixed, so that a longer window is a longer reach, and its price is time.
    "memory": Recording(
        "memory",
        {"task": "copy", "lag": 8, "symbols": 8},
        {"batch_size": 16, "k1": 4},
        50_000,
        {
            "cell_type": CELLS,
            "hidden_size": [16, 64],
            "truncation_length": [4, 8, 16],
            "learning_rate": [*RATES[1:], 1e-1],
        },
    ),
}


class Forgetful:
    """A storage for trainings that are never resumed."""

    def write(self, name: str, content: bytes) -> str:
        """Keep nothing."""
        return name

    def read(self, uri: str) -> bytes:
        """Find nothing."""
        raise FileNotFoundError(uri)


def curve(recording: Recording, setting: dict[str, Any], workload: Any, dataset: Any) -> dict[str, Any]:
    """Train one setting; its curve ends early where it diverges."""
    from workloads.protocol import Diverged

    budget = {"sequence_steps": recording.sequence_steps, "evaluations": EVALUATIONS}
    values: list[float] = []
    seconds: list[float] = []
    before = time.process_time()
    try:
        for progress in workload.train({**recording.train, **setting, **budget}, dataset, Forgetful()):
            now = time.process_time()
            values.append(float(f"{progress.metrics['valid_loss']:.6g}"))
            seconds.append(float(f"{now - before:.3g}"))
            before = now
    except Diverged:
        seconds.append(float(f"{time.process_time() - before:.3g}"))
    return {"setting": setting, "values": values, "seconds": seconds}


def record(name: str, part: int, parts: int) -> None:
    """Record every `parts`-th setting."""
    import torch

    import workloads

    torch.set_num_threads(1)
    recording = RECORDINGS[name]
    workload = workloads.load(recording.kind, recording.options)
    dataset = workload.prepare()
    PARTS.mkdir(exist_ok=True)
    path = PARTS / f"{name}-{part}-{parts}.jsonl"
    settings = recording.settings()[part::parts]
    curve(recording, settings[0], workload, dataset)  # the first one pays for what torch loads when it is needed
    done = path.read_text().count("\n") if path.exists() else 0
    for index, setting in enumerate(settings):
        if index >= done:
            with path.open("a") as file:
                file.write(json.dumps(curve(recording, setting, workload, dataset)) + "\n")


def recorded(name: str) -> Iterator[dict[str, Any]]:
    """Read what the parts hold."""
    for path in sorted(PARTS.glob(f"{name}-*.jsonl")):
        yield from map(json.loads, path.read_text().splitlines())


def pack(names: Sequence[str]) -> None:
    """Write the tables: per setting the places of its values on the grid, then its curve and its seconds."""
    for name in names or RECORDINGS:
        recording = RECORDINGS[name]
        found = sorted(recorded(name), key=lambda entry: json.dumps(entry["setting"]))
        if len(found) != len(recording.settings()):
            raise SystemExit(f"{name}: {len(found)} of {len(recording.settings())} settings recorded")
        table = {
            "workload": {"kind": recording.kind, **recording.options},
            "train": {**recording.train, "sequence_steps": recording.sequence_steps, "evaluations": EVALUATIONS},
            "metric": "valid_loss",
            "grid": recording.grid,
            "curves": [
                {
                    "at": [values.index(entry["setting"][key]) for key, values in recording.grid.items()],
                    "values": entry["values"],
                    "seconds": entry["seconds"],
                }
                for entry in found
            ],
        }
        content = json.dumps(table, separators=(",", ":")).encode()
        (HERE / f"{name}.json.gz").write_bytes(gzip.compress(content, 9, mtime=0))


def check(name: str, settings: int = 60) -> None:
    """Train settings off the grid, and print how far the table is from them, and how far the nearest point."""
    import numpy as np
    import torch

    import workloads
    from tests.benchmarks.quality.table import NUMBERS, Table

    torch.set_num_threads(1)
    recording, table, draw = RECORDINGS[name], Table.load(name), random.Random(1)
    workload = workloads.load(recording.kind, recording.options)
    dataset = workload.prepare()
    found: list[list[float]] = []
    while len(found) < settings:
        setting: dict[str, Any] = {"cell_type": draw.choice(CELLS)}
        for number in NUMBERS:
            low, *_, high = (math.log(value) for value in recording.grid[number])
            value = math.exp(draw.uniform(low, high))
            setting[number] = value if number == "learning_rate" else round(value)
        values = curve(recording, setting, workload, dataset)["values"]
        said = [read.curve(setting).values for read in (table, replace(table, is_nearest=True))]
        if len(values) == EVALUATIONS == min(map(len, said)):
            found.append([values[-1], *(ends[-1] for ends in said)])
    real, between, nearest = np.log(np.array(sorted(found))).T
    for label, part in (("all", slice(None)), ("the best third", slice(settings // 3))):
        ratios = [np.exp(np.median(np.abs(said[part] - real[part]))) for said in (between, nearest)]
        print(f"{name}, {label}: off by a factor of {ratios[0]:.2f} between points, {ratios[1]:.2f} at the nearest")


if __name__ == "__main__":
    if sys.argv[1] == "--pack":
        pack(sys.argv[2:])
    elif sys.argv[1] == "--check":
        check(sys.argv[2])
    else:
        record(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
