"""Forecasting series: the task in training, and the trained model continuing a history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workloads.bptt.state import State
from workloads.checkpoint import trained_network
from workloads.data.forecasts import Parts, SeriesStream, changes, scores, stationary
from workloads.data.series import check_order, continue_times, numbers, times
from workloads.evaluation import CHUNK_STEPS
from workloads.hyperparameters import Hyperparameters
from workloads.models.recurrent import RecurrentNetwork

CONTEXT_STEPS = 512
"""Rows before validation that the network reads to have a state; the same for all, whatever the truncation length."""


def make_network(h: Hyperparameters, facts: Mapping[str, Any]) -> RecurrentNetwork:
    """Return the network. Its output layer begins at zero, and so training begins at the naive forecast."""
    size = facts["horizon"] * len(facts["targets"]) * len(facts["quantiles"] or [0.5])
    network = RecurrentNetwork(h, input_size=len(facts["columns"]), output_size=size)
    for parameter in network.output.parameters():
        nn.init.zeros_(parameter)
    return network


@torch.no_grad()
def forecast_rows(
    network: nn.Module, inputs: np.ndarray, facts: Mapping[str, Any], *, device: torch.device | str = "cpu"
) -> np.ndarray:
    """Run over `inputs` (rows, columns) and return each row's forecast: (rows, horizon, targets, quantiles).

    Changes from the row's own level in standard deviations; one quantile where there are none. Quantiles that cross
    are put in order, which never makes their loss larger (Chernozhukov et al., 2010).
    """
    state: State = None
    training = network.training
    network.eval()
    outputs = []
    for start in range(0, len(inputs), CHUNK_STEPS):
        # A copy: torch wants an array that it may write to, and those that workers share are not.
        window = torch.from_numpy(inputs[start : start + CHUNK_STEPS, None].copy()).to(device)  # (time, 1, columns)
        output, state = network(window, state)
        outputs.append(output[:, 0].cpu().double().numpy())
    network.train(training)
    shape = (len(inputs), facts["horizon"], len(facts["targets"]), len(facts["quantiles"] or [0.5]))
    return np.sort(np.concatenate(outputs).reshape(shape), axis=-1)


class ForecastTask:
    """Forecasting at every step of a series; see `workloads.training.Task`."""

    def __init__(self, h: Hyperparameters, arrays: Mapping[str, np.ndarray], facts: dict[str, Any]) -> None:
        self.facts = facts
        self.network = make_network(h, facts)
        self.quantiles: list[float] | None = facts["quantiles"]
        self.parts, self.horizon = Parts(*facts["rows"]), facts["horizon"]
        self.inputs, self.levels = arrays["inputs"], arrays["levels"]
        self.training = SeriesStream(
            self.inputs,
            self.levels,
            self.parts.origins("train", self.horizon),
            horizon=self.horizon,
            batch_size=h.batch_size,
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        """Return the summed squared error or pinball loss, and the number of terms.

        Outputs are (time, batch, horizon * targets * quantiles), targets (time, batch, horizon, targets).
        """
        error = targets[..., None] - outputs.view(*targets.shape, -1)  # (time, batch, horizon, targets, quantiles)
        if self.quantiles is None:
            return error.square().sum(), error.numel()
        levels = error.new_tensor(self.quantiles)
        return torch.maximum(levels * error, (levels - 1) * error).sum(), error.numel()

    def chance_loss(self, targets: Tensor) -> Tensor:
        """Return the loss of forecasting no change, over the training part or in this window, whichever is more."""
        total, terms = self.loss(targets.new_zeros((*targets.shape, len(self.quantiles or [0.5]))), targets)
        return (total / terms).clamp(min=self.facts["chance_loss"])

    def evaluate(self, device: torch.device) -> dict[str, float]:
        """Score validation and test in one pass, the state carried from before validation to the end.

        Metrics are in standard deviations of the training part; skill is 1 - error / error of the naive forecast.
        Nothing is chosen by the test.
        """
        origins = {part: self.parts.origins(part, self.horizon) for part in ("valid", "test")}
        begin = max(int(origins["valid"][0]) - CONTEXT_STEPS, 0)
        stop = int(max(rows[-1] for rows in origins.values() if len(rows))) + 1
        forecast = forecast_rows(self.network, self.inputs[begin:stop], self.facts, device=device)
        metrics: dict[str, float] = {}
        for part, rows in origins.items():
            if len(rows):
                actual = changes(self.levels, rows, self.horizon)
                metrics |= self._score(part, forecast[rows - begin], actual)
        return {"valid_loss": metrics["valid_pinball" if self.quantiles else "valid_mse"], **metrics}

    def _score(self, part: str, forecast: np.ndarray, actual: np.ndarray) -> dict[str, float]:
        metrics = {f"{part}_{name}": value for name, value in scores(forecast, actual, self.quantiles).items()}
        naive = self.facts["naive"]
        metrics[f"{part}_skill_naive"] = 1 - metrics[f"{part}_mse"] / naive[f"{part}_mse"]
        if self.quantiles:
            metrics[f"{part}_pinball_skill_naive"] = 1 - metrics[f"{part}_pinball"] / naive[f"{part}_pinball"]
        return metrics


class ForecastPredictor:
    """A trained forecaster: a table of history in, a table of the next rows out, in the units of the history."""

    def __init__(self, checkpoint: bytes) -> None:
        self.network, self.facts = trained_network(checkpoint, make_network)
        self.optional_columns = [name for name in [self.facts["time"]] if name is not None]

    def example(self) -> tuple[dict[str, list[Any]], dict[str, Any]]:
        """Return the last rows of the training part; there are no options."""
        return self.facts["example"], {}

    def predict(self, columns: Mapping[str, list[Any]], options: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Continue a history, one row for each time step, the longer the better.

        Returns `step` from 1 to the horizon, the time where that of the history is regular, and each target: its
        forecast, or one column for each quantile (`temp_max_q0.1`).
        """
        import pandas

        facts = self.facts
        history = pandas.DataFrame(dict(columns))
        raw = numbers(history, facts["columns"], "history")  # (rows, columns)
        needed = 2 if facts["transform"] == "log_return" else 1
        if len(raw) < needed:
            raise ValueError(f"history: {len(raw)} rows; at least {needed} are needed")
        answer: dict[str, list[Any]] = {"step": list(range(1, facts["horizon"] + 1))}
        if facts["time"] in history.columns:
            stamps = times(history[facts["time"]], "history")
            check_order(stamps, "history")
            following = continue_times(stamps, facts["horizon"])
            if following is not None:
                answer[facts["time"]] = following
        forecast = self._in_units(raw)  # (horizon, targets, quantiles)
        for index, target in enumerate(facts["targets"]):
            if facts["quantiles"] is None:
                answer[target] = forecast[:, index, 0].tolist()
            for place, level in enumerate(facts["quantiles"] or []):
                answer[f"{target}_q{level:g}"] = forecast[:, index, place].tolist()
        return answer

    def _in_units(self, raw: np.ndarray) -> np.ndarray:
        facts = self.facts
        mean, std = np.array(facts["mean"]), np.array(facts["std"])
        values = stationary(raw, facts["transform"], facts["columns"], field="history")
        inputs = ((values - mean) / std).astype(np.float32)
        count = len(facts["targets"])
        change = forecast_rows(self.network, inputs, facts)[-1] * std[:count, None]  # (horizon, targets, quantiles)
        last = raw[-1, :count, None]
        in_units: np.ndarray = last * np.exp(change) if facts["transform"] == "log_return" else last + change
        return in_units
