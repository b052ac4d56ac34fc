"""The shortest windows whose gradient is nearly unbiased, found anew as training goes on.

Aicher, Foti and Fox (2019), "Adaptively truncating backpropagation through time to control gradient bias": from time
to time measure how gradients decay, and take the smallest truncation length whose estimated relative bias is at most
delta (their kappa(delta)). The estimate is `workloads.bptt.horizon`'s; estimates are averaged, since one window of data
is a small sample. Training begins with the longest length allowed: a horizon measured before the network has learnt to
remember is that of its initial weights, and a length chosen by it could never find out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads.bptt.chunks import Chunks
from workloads.bptt.fixed import FixedTruncation
from workloads.bptt.horizon import Horizon
from workloads.bptt.truncation import Reach, Truncation

LOOKS = 25
"""Horizons looked at in a training, evenly spaced by sequence steps."""
NEW_SHARE = 0.3
"""Weight of the newest estimate in the running mean of biases by length."""


class AdaptiveTruncation(Truncation):
    """`truncation: adaptive`."""

    looks = LOOKS

    def __init__(self, seed: int, *, longest: int, bias: float, k1: int | None = None) -> None:
        super().__init__(seed)
        self.longest, self.allowed, self.k1 = longest, bias, k1
        self.longest_context = longest - min(k1 or longest, longest)
        self.truncation_length = longest
        self.biases: list[float] | None = None
        """Estimated relative bias at lengths 1 to the longest."""

    def look(self, horizon: Horizon) -> None:
        """Choose the length anew."""
        measured = [horizon.bias(length) for length in range(1, self.longest + 1)]
        if self.biases is not None:
            measured = [(1 - NEW_SHARE) * old + NEW_SHARE * new for old, new in zip(self.biases, measured, strict=True)]
        self.biases = measured
        too_short = np.flatnonzero(np.array(measured) > self.allowed)
        self.truncation_length = min(int(too_short[-1]) + 2, self.longest) if len(too_short) else 1

    def _fixed(self) -> FixedTruncation:
        return FixedTruncation(self._seed, truncation_length=self.truncation_length, k1=self.k1)

    def reach(self, left: int) -> Reach:
        """Return a window of the length that is held to be enough now."""
        return self._fixed().reach(left)

    def chunks(self, length: int) -> Chunks | None:
        """Cut whole sequences by the length that is held to be enough now."""
        return self._fixed().chunks(length)

    def facts(self) -> dict[str, float]:
        """Return the length chosen."""
        return {"truncation_length": float(self.truncation_length)}

    def position(self) -> dict[str, Any]:
        """Return the length and the biases it was chosen by."""
        return {"truncation_length": self.truncation_length, "biases": self.biases}

    def go_to(self, position: dict[str, Any]) -> None:
        """Go on with the length chosen last."""
        self.truncation_length, self.biases = position["truncation_length"], position["biases"]
