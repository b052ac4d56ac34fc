"""The shortest windows whose gradient is nearly unbiased, found anew as training goes on.

Aicher, Foti and Fox (2019), "Adaptively truncating backpropagation through time to control gradient bias": from time
to time measure how gradients decay, and take the smallest truncation length whose estimated relative bias is at most
delta (their kappa(delta)). The estimate is `workloads.bptt.horizon`'s; in their paper every loss is followed back over
the whole truncation length, here it is the mean over a window's losses, of which only the last goes back so far.

Too long a window costs updates, but too short a one hides that it is too short: gradients do not show what they never
reach. So training begins with the longest length allowed, and the horizons that a length is chosen by are the last few
together: that of a network that has not learnt yet to remember is the horizon of its initial weights.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from workloads.bptt.chunks import Chunks
from workloads.bptt.fixed import FixedTruncation
from workloads.bptt.horizon import Horizon, together
from workloads.bptt.truncation import Reach, Truncation

REMEMBERED = 3
"""So many horizons choose, the last ones."""
FIRST_LOOKS = tuple(number / 100 for number in range(1, REMEMBERED + 1))
"""Parts of the budget at which the first are measured: long windows cost most where a training learns fastest."""
LATER_LOOKS = tuple(number / 10 for number in range(1, 10))


class AdaptiveTruncation(Truncation):
    """`truncation: adaptive`."""

    looks = FIRST_LOOKS + LATER_LOOKS
    needs_looks = True

    def __init__(self, seed: int, *, longest: int, bias: float, k1: int | None = None) -> None:
        super().__init__(seed)
        self.longest, self.allowed, self.k1 = longest, bias, k1
        self.longest_context = longest - min(k1 or longest, longest)
        self.seen: list[Horizon] = []
        self.truncation_length = longest

    def look(self, horizon: Horizon) -> None:
        """Choose anew, once enough has been seen."""
        self.seen = [*self.seen, horizon][-REMEMBERED:]
        if len(self.seen) == REMEMBERED:
            together_seen = together(self.seen)
            self.truncation_length = together_seen.shortest_window(self.longest, k1=self.k1, bias=self.allowed)

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
        """Return the length chosen, and what the next is chosen by."""
        seen = [asdict(horizon) for horizon in self.seen]
        return {"truncation_length": self.truncation_length, "seen": seen}

    def go_to(self, position: dict[str, Any]) -> None:
        """Go on with them."""
        self.truncation_length = position["truncation_length"]
        self.seen = [Horizon(**known) for known in position["seen"]]
