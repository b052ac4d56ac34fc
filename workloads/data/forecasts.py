"""What is forecast from a series: its parts, the points in each, and what needs no training to forecast them.

All values are changes from the last value known, in standard deviations of the training part. The forecast "nothing
changes" is then 0, whatever the series; a network that answers in changes begins there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Parts:
    """Rows for training, then for validation, then for the test; rows behind them are not used."""

    train: int
    valid: int
    test: int

    def origins(self, part: str, horizon: int) -> np.ndarray:
        """Return the rows to forecast from: those whose next `horizon` rows all lie in `part`.

        The first of validation is the last row of training, which is known by then; no row of one part is
        forecast in another.
        """
        begin = {"train": 0, "valid": self.train, "test": self.train + self.valid}[part]
        stop = begin + {"train": self.train, "valid": self.valid, "test": self.test}[part]
        return np.arange(max(begin - 1, 0), stop - horizon)


def stationary(raw: np.ndarray, transform: str, columns: Sequence[str], *, field: str) -> np.ndarray:
    """Return what a network reads before scaling, (rows, columns): the values, or their log returns, one row fewer.

    ValueError, beginning with `field`, where a value has no logarithm.
    """
    if transform == "none":
        return raw
    for name, column in zip(columns, raw.T, strict=True):
        if not column.min() > 0:
            raise ValueError(f"{field}: log_return needs values above 0; column {name} has {column.min():g}")
    return np.diff(np.log(raw), axis=0)


def changes(levels: np.ndarray, origins: np.ndarray, horizon: int) -> np.ndarray:
    """Return how far each of the `horizon` rows behind each origin lies from it: (*origins, horizon, targets)."""
    ahead = origins[..., None] + np.arange(1, horizon + 1)  # (*origins, horizon)
    moved: np.ndarray = levels[ahead] - levels[origins][..., None, :]
    return moved


class SeriesStream:
    """The training part cut into `batch_size` pieces of equal length; targets are the changes that follow each row."""

    def __init__(self, inputs: np.ndarray, levels: np.ndarray, origins: np.ndarray, *, horizon: int, batch_size: int):
        self.batch_size = batch_size
        self.length = len(origins) // batch_size
        if self.length < 1:
            raise ValueError(
                f"train.batch_size: {batch_size} streams need more than the {len(origins)} rows there are to train on"
            )
        self._inputs, self._levels, self._horizon = inputs, levels, horizon
        # What does not divide is left out at the front, where the series is oldest.
        self._starts = origins[-self.length * batch_size :: self.length]  # (batch,)

    def window(self, epoch: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs (time, batch, columns) and targets (time, batch, horizon, targets), float32."""
        rows = self._starts + np.arange(start, stop)[:, None]  # (time, batch)
        moved = changes(self._levels, rows, self._horizon)
        return self._inputs[rows].astype(np.float32), moved.astype(np.float32)


def pinball(forecast: np.ndarray, actual: np.ndarray, quantiles: Sequence[float]) -> float:
    """Return the mean pinball loss; `forecast` has one axis more than `actual`, of quantiles."""
    error = actual[..., None] - forecast
    levels = np.asarray(quantiles)
    return float(np.maximum(levels * error, (levels - 1) * error).mean())


def scores(forecast: np.ndarray, actual: np.ndarray, quantiles: Sequence[float] | None) -> dict[str, float]:
    """Return mean squared and absolute error and, of quantiles, pinball loss and coverage of the outermost two.

    `forecast` is (points, horizon, targets, quantiles), of one column where there are none; the point forecast is then
    the median. `actual` is (points, horizon, targets).
    """
    point = forecast[..., quantiles.index(0.5) if quantiles else 0]
    found = {"mse": float(np.square(point - actual).mean()), "mae": float(np.abs(point - actual).mean())}
    if quantiles:
        inside = (forecast[..., 0] <= actual) & (actual <= forecast[..., -1])
        found |= {"pinball": pinball(forecast, actual, quantiles), "coverage": float(inside.mean())}
    return found


def naive_scores(
    levels: np.ndarray, parts: Parts, horizon: int, *, season: int | None, quantiles: Sequence[float] | None
) -> dict[str, float]:
    """Score, on exactly the points of validation and test that a network is scored on, what needs no training.

    `naive` repeats the last value, with the changes seen in training for quantiles; `seasonal_naive` repeats the value
    of the same step a season ago.
    """
    found: dict[str, float] = {}
    for part in ("valid", "test"):
        origins = parts.origins(part, horizon)
        if not len(origins):
            continue
        actual = changes(levels, origins, horizon)
        naive = np.zeros((*actual.shape, 1))
        if quantiles:
            trained = changes(levels, parts.origins("train", horizon), horizon)
            spread = np.moveaxis(np.quantile(trained, quantiles, axis=0), 0, -1)  # (horizon, targets, quantiles)
            # Its median is the last value itself, so quantiles below it lie below, those above it above.
            side = np.sign(np.asarray(quantiles) - 0.5)
            naive = naive + np.where(side < 0, np.minimum(spread, 0), np.where(side > 0, np.maximum(spread, 0), 0))
        found |= {f"naive/{part}_{name}": value for name, value in scores(naive, actual, quantiles).items()}
        if season is not None:
            ago = _seasonal(levels, origins, horizon, season=season)[..., None]
            found |= {f"seasonal_naive/{part}_{name}": value for name, value in scores(ago, actual, None).items()}
    return found


def _seasonal(levels: np.ndarray, origins: np.ndarray, horizon: int, *, season: int) -> np.ndarray:
    steps = np.arange(1, horizon + 1)
    back = steps - season * np.ceil(steps / season).astype(int)  # (horizon,), 0 or less
    if origins[0] + back.min() < 0:
        raise ValueError(
            f"workload.season: {season} rows reach back before the series begins; "
            f"{origins[0] + 1} rows come before validation"
        )
    moved: np.ndarray = levels[origins[:, None] + back] - levels[origins][:, None, :]
    return moved
