"""Windows of fixed length: updates every k1 steps, with gradients over the last k2.

BPTT(h; h') of Williams and Peng (1990), "An efficient gradient-based algorithm for on-line training of recurrent
network trajectories", with h = k2 and h' = k1 (the names of Sutskever, 2013, "Training recurrent neural networks").
"""

from __future__ import annotations

from workloads.bptt.chunks import Chunks
from workloads.bptt.truncation import Reach, Truncation


class FixedTruncation(Truncation):
    """`truncation: fixed`."""

    def __init__(self, seed: int, *, truncation_length: int, k1: int | None = None) -> None:
        super().__init__(seed)
        self.truncation_length = truncation_length
        self.k1 = min(k1 or truncation_length, truncation_length)
        self.longest_context = self.truncation_length - self.k1

    def reach(self, left: int) -> Reach:
        """Return the same window as ever."""
        return Reach(min(self.k1, left), self.truncation_length)

    def chunks(self, length: int) -> Chunks | None:
        """Cut into chunks of k1 steps: a gradient travels through its chunk and the k2 - k1 steps before it."""
        last_chunk_ends = -(-length // self.k1) * self.k1
        # Where a whole last chunk reaches back to the first step nothing is cut, however much longer its company is.
        if last_chunk_ends <= self.truncation_length:
            return None
        bounds = [*range(0, length, self.k1), length]
        return Chunks(bounds, [0.0] * (len(bounds) - 2), context=self.longest_context)
