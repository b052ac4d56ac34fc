"""Carried streams: long sequences read side by side, window after window, from the first step to the last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np


class Stream(Protocol):
    """Sequences of equal length that a network reads in parallel, carrying its state from window to window."""

    length: int
    """Steps in one pass (epoch); the state starts anew behind the last."""
    batch_size: int

    def window(self, epoch: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs (time, batch, ...) and targets (time, batch, ...) of steps `start` to `stop`."""


class TokenStream:
    """One text cut into `batch_size` pieces of equal length; the target is the token that follows."""

    def __init__(self, tokens: np.ndarray, batch_size: int) -> None:
        self.batch_size = batch_size
        self.length = (len(tokens) - 1) // batch_size
        if self.length < 1:
            raise ValueError(
                f"train.batch_size: {batch_size} streams need more than the {len(tokens)} tokens there are"
            )
        count = self.length * batch_size
        # A view: (batch, time), so that workers go on sharing one copy of the tokens.
        self._inputs = tokens[:count].reshape(batch_size, self.length)
        self._targets = tokens[1 : count + 1].reshape(batch_size, self.length)

    def window(self, epoch: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return token numbers, int64, (time, batch) each."""
        inputs = self._inputs[:, start:stop].T.astype(np.int64, order="C")
        return inputs, self._targets[:, start:stop].T.astype(np.int64, order="C")


def windows(stream: Stream, length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Walk through one pass of a stream in windows of at most `length` steps."""
    for start in range(0, stream.length, length):
        yield stream.window(0, start, min(start + length, stream.length))
