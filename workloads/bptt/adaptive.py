"""The shortest windows whose gradient is nearly unbiased, found anew as training goes on.

Aicher, Foti and Fox (2019), "Adaptively truncating backpropagation through time to control gradient bias": from time
to time measure how gradients decay, and take the smallest truncation length whose estimated relative bias is at most
delta (their kappa(delta)). The estimate is `workloads.bptt.horizon`'s.

Too long a window costs time, but too short a one hides that it is too short: gradients do not show what they never
reach. So the length is the longest of the last few estimates, and training begins with the longest allowed: the horizon
of a network that has not learnt yet to remember is that of its initial weights.
"""

from __future__ import annotations

from typing import Any

from workloads.bptt.chunks import Chunks
from workloads.bptt.fixed import FixedTruncation
from workloads.bptt.horizon import Horizon
from workloads.bptt.truncation import Reach, Truncation

LOOKS = 25
"""Horizons looked at in a training, evenly spaced by sequence steps."""
REMEMBERED = 5
"""Estimates of which the longest counts."""


class AdaptiveTruncation(Truncation):
    """`truncation: adaptive`."""

    looks = LOOKS

    def __init__(self, seed: int, *, longest: int, bias: float, k1: int | None = None) -> None:
        super().__init__(seed)
        self.longest, self.allowed, self.k1 = longest, bias, k1
        self.longest_context = longest - min(k1 or longest, longest)
        self.estimates = [longest] * REMEMBERED

    @property
    def truncation_length(self) -> int:
        """Return the length that is held to be enough now."""
        return max(self.estimates)

    def look(self, horizon: Horizon) -> None:
        """Estimate anew which length is enough."""
        shortest = horizon.shortest(self.allowed)
        enough = self.longest if shortest is None else min(shortest, self.longest)
        self.estimates = [*self.estimates[1:], enough]

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
        """Return the last estimates."""
        return {"estimates": self.estimates}

    def go_to(self, position: dict[str, Any]) -> None:
        """Go on with them."""
        self.estimates = list(position["estimates"])
