"""Batches of whole sequences: which of them are read side by side, and in what order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

POOL_BATCHES = 32
"""Sequences are sorted by length within so many batches: little padding, and still another company in every epoch."""


class BucketBatches:
    """Sequences of similar length side by side, in an order drawn anew in every epoch.

    The order depends on seed and epoch alone, so that a resumed trial sees the same batches.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int) -> None:
        if not len(lengths):
            raise ValueError("train: there are no sequences to train on")
        self.lengths = lengths
        """Steps of each sequence, (sequences,)."""
        self.batch_size, self._seed = batch_size, seed
        self.count = -(-len(lengths) // batch_size)
        """Batches in an epoch; the last may be smaller."""
        self._epoch: int | None = None
        self._batches: list[np.ndarray] = []

    def batch(self, epoch: int, index: int) -> np.ndarray:
        """Return the numbers of the sequences in batch `index` of an epoch."""
        if epoch != self._epoch:
            self._batches, self._epoch = self._draw(epoch), epoch
        return self._batches[index]

    def _draw(self, epoch: int) -> list[np.ndarray]:
        random = np.random.default_rng([self._seed, epoch])
        order = random.permutation(len(self.lengths))
        pool = self.batch_size * POOL_BATCHES
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        by_length = np.concatenate([part[np.argsort(self.lengths[part], kind="stable")] for part in pools])
        batches = [by_length[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        return [batches[index] for index in random.permutation(len(batches))]


def by_length(lengths: np.ndarray | Sequence[int], batch_size: int) -> Iterator[np.ndarray]:
    """Walk once through sequences of similar length, for evaluation: the numbers of each batch."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def pad(sequences: Sequence[np.ndarray], value: float = 0) -> np.ndarray:
    """Put sequences (time, ...) side by side, filled with `value` at their ends: (longest, batch, ...)."""
    first = sequences[0]
    padded = np.full((max(map(len, sequences)), len(sequences), *first.shape[1:]), value, first.dtype)
    for place, sequence in enumerate(sequences):
        padded[: len(sequence), place] = sequence
    return padded
