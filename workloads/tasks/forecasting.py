"""Forecasting series: the network, and the task in training.

Evaluation walks forward with fixed weights: the network is trained on the rows before validation alone; then it reads
on, row by row to the end of the test, its state carried along, and forecasts from every row by what it has read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workloads.bptt.state import State
from workloads.data.forecast_dataset import scaled, skills
from workloads.data.forecast_scores import Measures
from workloads.data.forecasts import Parts, SeriesStream, changes, network_inputs
from workloads.data.preparation import Prepared, Reading
from workloads.evaluation_window import MOST_STEPS
from workloads.hyperparameters import Hyperparameters
from workloads.models.recurrent import RecurrentNetwork

CONTEXT_STEPS = 512
"""Rows before validation that the network reads to have a state; the same for all, whatever the truncation length."""


def make_network(h: Hyperparameters, facts: Mapping[str, Any]) -> RecurrentNetwork:
    """Return the network. Its output layer begins at zero, and so training begins at the naive forecast."""
    size = facts["horizon"] * len(facts["targets"]) * len(facts["quantiles"] or [0.5])
    network = RecurrentNetwork(h, input_size=facts["input_size"], output_size=size)
    for parameter in network.output.parameters():
        nn.init.zeros_(parameter)
    return network


@torch.no_grad()
def forecast_rows(
    network: nn.Module,
    arrays: Mapping[str, np.ndarray],
    rows: range,
    facts: Mapping[str, Any],
    *,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Run over `rows` and return each one's forecast: (rows, horizon, targets, quantiles).

    Changes from the row's own level in standard deviations; one quantile where there are none. Quantiles that cross
    are put in order, which never makes their loss larger (Chernozhukov et al., 2010).
    """
    state: State = None
    training = network.training
    network.eval()
    outputs = []
    for start in range(rows.start, rows.stop, MOST_STEPS):
        places = np.arange(start, min(start + MOST_STEPS, rows.stop))[:, None]
        window = torch.from_numpy(network_inputs(arrays, places, facts["horizon"])).to(device)  # (time, 1, inputs)
        output, state = network(window, state)
        outputs.append(output[:, 0].cpu().double().numpy())
    network.train(training)
    return shaped(np.concatenate(outputs), facts)


def shaped(outputs: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    """Return a network's outputs (rows, all) as (rows, horizon, targets, quantiles), quantiles in order."""
    shape = (-1, facts["horizon"], len(facts["targets"]), len(facts["quantiles"] or [0.5]))
    return np.sort(outputs.reshape(shape), axis=-1)


def arrays_read(prepared: Prepared, facts: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return what a trained network reads of prepared rows, scaled as in its training."""
    inputs = [scaled(prepared.inputs, facts["mean"], facts["std"]), prepared.calendar]
    known = scaled(prepared.known, facts["known_mean"], facts["known_std"])
    return {"inputs": np.concatenate(inputs, axis=1), "known": known}


def in_units(change: np.ndarray, levels: np.ndarray, facts: Mapping[str, Any]) -> np.ndarray:
    """Return forecast changes (rows, horizon, targets, quantiles) from levels (rows, targets) in the series' units."""
    ahead: np.ndarray = levels[:, None, :, None] + change * np.asarray(facts["level_std"])[:, None]
    return np.exp(ahead) if facts["logarithmic"] else ahead


def name_columns(forecast: np.ndarray, reading: Reading, quantiles: Sequence[float] | None) -> dict[str, list[float]]:
    """Return forecasts (rows, targets, quantiles) as columns: one for each target, or for each quantile of it."""
    columns: dict[str, list[float]] = {}
    for index, target in enumerate(reading.targets):
        name = f"{target}_volatility" if reading.transform == "log_volatility" else target
        if quantiles is None:
            columns[name] = forecast[:, index, 0].tolist()
        for place, level in enumerate(quantiles or []):
            columns[f"{name}_q{level:g}"] = forecast[:, index, place].tolist()
    return columns


class ForecastTask:
    """Forecasting at every step of a series; see `workloads.training.Task`."""

    def __init__(self, h: Hyperparameters, arrays: Mapping[str, np.ndarray], facts: dict[str, Any]) -> None:
        self.facts = facts
        self.network = make_network(h, facts)
        self.quantiles: list[float] | None = facts["quantiles"]
        self.parts, self.horizon = Parts(*facts["rows"]), facts["horizon"]
        self.arrays, self.measures = arrays, Measures.from_facts(facts)
        origins = self.parts.origins("train", self.horizon)
        self.training = SeriesStream(arrays, origins, horizon=self.horizon, batch_size=h.batch_size)

    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        """Return the summed squared error or pinball loss, and the number of terms.

        Outputs are (time, batch, horizon * targets * quantiles), targets (time, batch, horizon, targets).
        """
        error = targets[..., None] - outputs.view(*targets.shape, -1)  # (time, batch, horizon, targets, quantiles)
        terms = error.numel()
        if self.facts["filled"]:
            # What was filled is no truth to learn from. Counting makes a GPU wait, hence only where there are gaps.
            error, terms = error.nan_to_num(0.0), int(torch.isfinite(targets).sum()) * error.shape[-1]
        if self.quantiles is None:
            return error.square().sum(), terms
        levels = error.new_tensor(self.quantiles)
        return torch.maximum(levels * error, (levels - 1) * error).sum(), terms

    def chance_loss(self, targets: Tensor) -> Tensor:
        """Return the loss of forecasting no change, over the training part or in this window, whichever is more."""
        total, terms = self.loss(targets.new_zeros((*targets.shape, len(self.quantiles or [0.5]))), targets)
        return (total / max(terms, 1)).clamp(min=self.facts["chance_loss"])

    def evaluate(self, device: torch.device) -> dict[str, float]:
        """Score validation and test in one pass, the state carried from before validation to the end.

        Metrics are in standard deviations of the training part; skill is 1 - error / error of the naive forecast.
        Nothing is chosen by the test.
        """
        origins = {part: self.parts.origins(part, self.horizon) for part in ("valid", "test")}
        begin = max(int(origins["valid"][0]) - CONTEXT_STEPS, 0)
        stop = int(max(rows[-1] for rows in origins.values() if len(rows))) + 1
        forecast = forecast_rows(self.network, self.arrays, range(begin, stop), self.facts, device=device)
        metrics: dict[str, float] = {}
        for part, rows in origins.items():
            if len(rows):
                metrics |= self._score(part, rows, forecast[rows - begin])
        trained_by = "pinball" if self.quantiles else "mse"
        losses = {f"{part}_loss": metrics[f"{part}_{trained_by}"] for part, rows in origins.items() if len(rows)}
        return {**losses, **metrics}

    def _score(self, part: str, rows: np.ndarray, forecast: np.ndarray) -> dict[str, float]:
        levels = self.arrays["levels"]
        actual = changes(levels, rows, self.horizon, observed=self.arrays["observed"])
        scored = self.measures.scores(forecast, actual, levels[rows])
        scored |= skills(part, scored, self.facts["baselines"])
        scored |= self.measures.by_step(forecast, actual)
        scored |= self.measures.by_target(forecast, actual, self.facts["targets"])
        return {f"{part}_{name}": value for name, value in scored.items()}
