"""What is forecast from a series: its parts, the points in each, and what a network reads at each row.

All values are changes from the last value known, in standard deviations of the training part. The forecast "nothing
changes" is then 0, whatever the series; a network that answers in changes begins there.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def changes(levels: np.ndarray, origins: np.ndarray, horizon: int, *, observed: np.ndarray | None = None) -> np.ndarray:
    """Return how far each of the `horizon` rows behind each origin lies from it: (*origins, horizon, targets).

    Taken from `observed` levels where they are given: NaN where a row has none.
    """
    ahead = origins[..., None] + np.arange(1, horizon + 1)  # (*origins, horizon)
    moved: np.ndarray = (levels if observed is None else observed)[ahead] - levels[origins][..., None, :]
    return moved


def network_inputs(arrays: Mapping[str, np.ndarray], rows: np.ndarray, horizon: int) -> np.ndarray:
    """Return what the network reads at `rows`: (*rows, inputs), float32.

    What is known ahead is read for the row itself and for each of the `horizon` rows behind it.
    """
    inputs = arrays["inputs"][rows]
    known = arrays["known"]
    if known.shape[1]:
        ahead = known[rows[..., None] + np.arange(horizon + 1)]  # (*rows, horizon + 1, known)
        inputs = np.concatenate([inputs, ahead.reshape(*rows.shape, -1)], axis=-1)
    read: np.ndarray = inputs.astype(np.float32)
    return read


def input_size(arrays: Mapping[str, np.ndarray], horizon: int) -> int:
    """Return the width of what the network reads at each row."""
    return int(arrays["inputs"].shape[1] + arrays["known"].shape[1] * (horizon + 1))


class SeriesStream:
    """The training part cut into `batch_size` pieces of equal length; targets are the changes that follow each row."""

    def __init__(self, arrays: Mapping[str, np.ndarray], origins: np.ndarray, *, horizon: int, batch_size: int):
        self.batch_size = batch_size
        self.length = len(origins) // batch_size
        if self.length < 1:
            raise ValueError(
                f"train.batch_size: {batch_size} streams need more than the {len(origins)} rows there are to train on"
            )
        self._arrays, self._horizon = arrays, horizon
        # What does not divide is left out at the front, where the series is oldest.
        self._starts = origins[-self.length * batch_size :: self.length]  # (batch,)

    def window(self, epoch: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs (time, batch, inputs) and targets (time, batch, horizon, targets), NaN where filled."""
        rows = self._starts + np.arange(start, stop)[:, None]  # (time, batch)
        moved = changes(self._arrays["levels"], rows, self._horizon, observed=self._arrays["observed"])
        return network_inputs(self._arrays, rows, self._horizon), moved.astype(np.float32)
