"""What a truncation scheme decides: how far a gradient travels back, update by update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.bptt.chunks import Chunks

if TYPE_CHECKING:
    from workloads.bptt.full import StepBytes
    from workloads.bptt.horizon import Horizon


@dataclass(frozen=True, slots=True)
class Reach:
    """The next window of a carried stream."""

    new: int
    """Steps that it reads on (k1)."""
    back: int
    """Steps that its gradient may travel back, the new ones counted (k2)."""
    chunks: Chunks | None = None
    """How the new steps are run; None: in one piece."""
    usual: int | None = None
    """Steps that windows read on average, by whose loss the gradient is divided; None: by the window's own.

    Where the length is drawn, a mean over the window's own steps would count long windows too little.
    """
    learning_rate_factor: float = 1.0


class Truncation:
    """Base of the schemes. `begin` is called before each update; what is drawn at random depends on that call alone."""

    longest_context = 0
    """Steps before a window's new ones that `reach` may ask for, at most."""
    looks: Sequence[float] = tuple(2.0**-power for power in range(6, 0, -1))
    """Parts of the budget at which horizons are measured beside those of evaluations: early ones, since what is learnt
    quickly has no gradient left afterwards."""
    needs_looks = False
    """Whether all of them are to be measured, however short the training is."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.random = np.random.default_rng(seed)

    def begin(self, *place: int) -> None:
        """Begin the update at `place` (epoch, and step or batch)."""
        self.random = np.random.default_rng([self._seed, *place])

    def reach(self, left: int) -> Reach:
        """Place the next window of a stream of which `left` steps are left, at least one."""
        raise NotImplementedError

    def chunks(self, length: int) -> Chunks | None:
        """Cut up whole sequences of `length` steps; None: run them in one piece, with the gradient of all of it."""
        raise NotImplementedError

    def share_memory_with(self, others: int) -> None:
        """Leave room in a memory budget for so many others that keep as much."""

    def measure(self, step_bytes: Callable[[], StepBytes]) -> None:
        """Measure what a step keeps, where that decides and is not known yet; called before the first update."""

    def look(self, horizon: Horizon) -> None:
        """Learn how far gradients travel now."""

    def facts(self) -> dict[str, float]:
        """Return what is worth a metric."""
        return {}

    def position(self) -> dict[str, Any]:
        """Return what a checkpoint must hold; plain values."""
        return {}

    def go_to(self, position: dict[str, Any]) -> None:
        """Go on from `position`."""
