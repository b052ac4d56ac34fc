"""How far forecasts lie from what came: errors, quantile loss, coverage, direction, in all and by step ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_STEPS = 6
"""Steps ahead that are scored one by one."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What errors are measured by.

    Forecasts are changes from the last level in standard deviations of the training part, (points, horizon, targets,
    quantiles), of one quantile where there are none: the point forecast, otherwise their median. What came is
    (points, horizon, targets), NaN where it is not known: such points are not scored.
    """

    quantiles: Sequence[float] | None
    scale: Sequence[float]
    """Standard deviations in the targets' units, or in those of their logarithms."""
    logarithmic: bool
    """Levels are logarithms."""
    naive_errors: Sequence[float]
    """Mean absolute error of the naive forecast in the training part, for each target: what MASE is measured in."""

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Measures:
        """Read them out of a dataset's facts."""
        return cls(facts["quantiles"], facts["level_std"], facts["logarithmic"], facts["naive_errors"])

    def point(self, forecast: np.ndarray) -> np.ndarray:
        """Return the point forecast, (points, horizon, targets)."""
        middle: np.ndarray = forecast[
            ..., self.quantiles.index(0.5) if forecast.shape[-1] > 1 and self.quantiles else 0
        ]
        return middle

    def scores(self, forecast: np.ndarray, actual: np.ndarray, last: np.ndarray) -> dict[str, float]:
        """Return every metric; `last` are the levels that changes are counted from, (points, targets).

        mse and mae in standard deviations; rmse in the target's own units (of log returns where levels are logarithms),
        for a single target; mase beside the naive forecast within the training part (Hyndman and Koehler, 2006); smape
        in per cent of the mean of forecast and value, from 0 to 200; direction_accuracy is the part of changes whose
        sign is forecast, no changes left out; of quantiles the pinball loss and the coverage of the outermost two.
        """
        point = self.point(forecast)
        error = point - actual
        found = {
            "mse": float(np.nanmean(np.square(error))),
            "mae": float(np.nanmean(np.abs(error))),
            "mase": float(np.nanmean(np.abs(error) / np.asarray(self.naive_errors))),
            "smape": self._smape(point, actual, last),
        }
        if len(self.scale) == 1:
            found["rmse"] = float(np.sqrt(found["mse"]) * self.scale[0])
        found |= direction(point, actual)
        if self.quantiles and forecast.shape[-1] > 1:
            found |= {"pinball": pinball(forecast, actual, self.quantiles), "coverage": coverage(forecast, actual)}
        return found

    def by_step(self, forecast: np.ndarray, actual: np.ndarray) -> dict[str, float]:
        """Return `mse/step:24` and so on for some steps ahead; skill is that against no change at the same step."""
        found: dict[str, float] = {}
        for step in chosen_steps(actual.shape[1]):
            there = actual[:, step - 1]
            error = self.point(forecast)[:, step - 1] - there
            if np.isnan(error).all():
                continue
            mse = float(np.nanmean(np.square(error)))
            found |= {f"mse/step:{step}": mse, f"mae/step:{step}": float(np.nanmean(np.abs(error)))}
            unchanged = float(np.nanmean(np.square(there)))
            if unchanged > 0:
                found[f"skill_naive/step:{step}"] = 1 - mse / unchanged
            if self.quantiles and len(self.quantiles) > 1:
                found[f"coverage/step:{step}"] = coverage(forecast[:, step - 1], there)
        return found

    def by_target(self, forecast: np.ndarray, actual: np.ndarray, names: Sequence[str]) -> dict[str, float]:
        """Return `mse/target:vix` and so on, where there are several targets; skill is that against no change."""
        found: dict[str, float] = {}
        for place, name in enumerate(names if len(names) > 1 else []):
            there, point = actual[..., place], self.point(forecast)[..., place]
            if np.isnan(there).all():
                continue
            scored = {"mse": float(np.nanmean(np.square(point - there)))}
            unchanged = float(np.nanmean(np.square(there)))
            if unchanged > 0:
                scored["skill_naive"] = 1 - scored["mse"] / unchanged
            scored |= direction(point, there)
            found |= {f"{metric}/target:{name}": value for metric, value in scored.items()}
        return found

    def _smape(self, point: np.ndarray, actual: np.ndarray, last: np.ndarray) -> float:
        forecast, came = self.in_units(last[:, None] + point), self.in_units(last[:, None] + actual)
        size = np.abs(forecast) + np.abs(came)
        # Both zero is no error.
        return float(np.nanmean(200 * np.abs(forecast - came) / np.where(size == 0, 1, size)))

    def in_units(self, levels: np.ndarray) -> np.ndarray:
        """Return levels in standard deviations as values in the target's own units."""
        values: np.ndarray = levels * np.asarray(self.scale)
        return np.exp(values) if self.logarithmic else values


def pinball(forecast: np.ndarray, actual: np.ndarray, quantiles: Sequence[float]) -> float:
    """Return the mean pinball loss (Koenker and Bassett, 1978); `forecast` has one axis more, of quantiles."""
    error = actual[..., None] - forecast
    levels = np.asarray(quantiles)
    return float(np.nanmean(np.maximum(levels * error, (levels - 1) * error)))


def direction(point: np.ndarray, actual: np.ndarray) -> dict[str, float]:
    """Return the part of changes whose sign was forecast, no changes left out; nothing where there are no others."""
    moved = np.isfinite(actual) & (actual != 0)
    right = (np.sign(point) == np.sign(actual))[moved]
    return {"direction_accuracy": float(right.mean())} if moved.any() else {}


def coverage(forecast: np.ndarray, actual: np.ndarray) -> float:
    """Return the part of what came that lies between the outermost quantiles."""
    inside = (forecast[..., 0] <= actual) & (actual <= forecast[..., -1])
    return float(inside[np.isfinite(actual)].mean())


def chosen_steps(horizon: int) -> list[int]:
    """Return at most six steps ahead to score one by one: 1, 2, 4, ..., the last; none where there is only one."""
    if horizon == 1:
        return []
    doubling = [2**power for power in range(horizon.bit_length()) if 2**power < horizon]
    steps = [*doubling, horizon]
    if len(steps) <= MOST_STEPS:
        return steps
    return [steps[round(place)] for place in np.linspace(0, len(steps) - 1, MOST_STEPS)]
