"""Windows of random length, so that no two passes over the data are cut at the same places.

Merity, Keskar and Socher (2018), "Regularizing and optimizing LSTM language models" (AWD-LSTM), section 5: the length
is drawn from a normal distribution around `truncation_length` with probability 0.95, around half of it otherwise, and
the learning rate is scaled by the length drawn, or else short windows would be favoured.
"""

from __future__ import annotations

from workloads.bptt.chunks import Chunks
from workloads.bptt.fixed import FixedTruncation
from workloads.bptt.truncation import Reach, Truncation

HALF_AS_LONG = 0.05
"""Probability of a window around half the length."""
SPREAD = 5 / 70
"""Standard deviation beside the length; the paper has 5 for windows of 70 steps."""
WIDEST = 4.0
"""Standard deviations beyond which no length is drawn, so that memory is bounded."""


class RandomTruncation(Truncation):
    """`truncation: random`."""

    def __init__(self, seed: int, *, truncation_length: int) -> None:
        super().__init__(seed)
        self.truncation_length = truncation_length

    @property
    def longest(self) -> int:
        """Return the longest window that can be drawn, in steps."""
        return round(self.truncation_length * (1 + WIDEST * SPREAD))

    def _draw(self) -> int:
        around = self.truncation_length * (0.5 if self.random.random() < HALF_AS_LONG else 1.0)
        drawn = round(self.random.normal(around, SPREAD * self.truncation_length))
        return int(min(max(drawn, 1), self.longest))

    def reach(self, left: int) -> Reach:
        """Draw the next window's length."""
        length = self._draw()
        # The last window of a pass is short for want of data, not by the draw.
        return Reach(min(length, left), length, learning_rate_factor=length / self.truncation_length)

    def chunks(self, length: int) -> Chunks | None:
        """Draw a length and cut whole sequences by it, all alike; one update reads them whole, whatever was drawn."""
        return FixedTruncation(self._seed, truncation_length=self._draw()).chunks(length)
