"""The cost of a trial, predicted and then trained: 50 settings, each in a process of its own.

The prediction is calibrated first, once, on tiny windows; the time of a setting is predicted from a few of its updates.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import workloads
from workloads.hyperparameters import Hyperparameters
from workloads.protocol import Dataset

SETTINGS = 50
MEMORY_BAR, TIME_BAR = 0.10, 0.25
MOST_WORK = 60e9
"""Multiplications of one update, at most, as far as weights are concerned: more would only take longer."""
MOST_OUTPUTS = 4e7
GRID: dict[str, list[Any]] = {
    "cell_type": [name for name in ("rnn", "gru", "lstm", "layer_norm_lstm", "min_gru", "lru")],
    "hidden_size": [32, 64, 128, 256, 512],
    "num_layers": [1, 2],
    "batch_size": [8, 16, 32, 64],
    "truncation_length": [8, 16, 32, 64, 128, 256],
    "optimizer": ["Adam", "SGD"],
    "dropout": [0.0, 0.2],
}
VOCABULARIES = [50, 200, 1000, 4000, 10_000, None]
"""None: a forecast of 24 values from 8 numbers."""


def settings() -> list[dict[str, Any]]:
    """Draw the settings, always the same."""
    from workloads.models.cells import BUILTIN

    draw, drawn = random.Random(1), []
    while len(drawn) < SETTINGS:
        setting = {name: draw.choice(values) for name, values in GRID.items() if name != "cell_type"}
        setting["cell_type"] = draw.choice([name for name in GRID["cell_type"] if name in BUILTIN])
        vocabulary = draw.choice(VOCABULARIES)
        pairs, hidden, outputs = setting["batch_size"] * setting["truncation_length"], setting["hidden_size"], vocabulary or 24
        work = 3 * pairs * (setting["num_layers"] * 8 * hidden**2 + hidden * outputs)
        if work <= MOST_WORK and pairs * outputs <= MOST_OUTPUTS:
            drawn.append({"vocabulary": vocabulary, **setting, "work": work})
    return drawn
