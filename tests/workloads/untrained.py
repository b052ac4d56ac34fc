"""Checkpoints of networks that were never trained, and are told apart all the same."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from tests.conftest import prepare_shared
from tests.workloads.waves import waves
from workloads.checkpoint import pack
from workloads.hyperparameters import read_hyperparameters
from workloads.tasks.forecast_predictor import ForecastPredictor
from workloads.tasks.forecasting import make_network

FRONT_END = {"sample_rate": 2000, "mel_bands": 6, "window_ms": 25.0, "hop_ms": 10.0, "stack": 3, "normalize": "running"}


def checkpoint(make: Any, facts: dict[str, Any], cell_type: str, **params: Any) -> bytes:
    """Return a checkpoint of a network whose weights are wide enough to tell one input from another."""
    torch.manual_seed(0)
    params = {"cell_type": cell_type, "hidden_size": 6, "num_layers": 2, **params}
    h = read_hyperparameters(params, whole_sequences=True)
    network = make(h, facts)
    for weight in network.output.parameters():
        torch.nn.init.normal_(weight)
    return pack({"facts": facts, "hyperparameters": asdict(h), "network": network.state_dict()})


def forecaster_of(folder: Path, cell_type: str, **options: Any) -> ForecastPredictor:
    """Return a forecaster of two waves, two rows ahead."""
    waves().to_csv(folder / "waves.csv", index=False)
    _, dataset = prepare_shared("forecast", series=str(folder / "waves.csv"), horizon=2, **options)
    return ForecastPredictor(checkpoint(make_network, dict(dataset.facts), cell_type))
