"""Full backpropagation through time with bounded memory: nothing is cut, and most of the graph is never kept.

The sequence is run in chunks and only the states between them are kept; on the way back each chunk is run again from
the state before it. With chunks of about the square root of the sequence this costs one more forward pass (Chen et al.,
2016, "Training deep nets with sublinear memory cost"). Within a given memory, chunks are as long as fits, which saves
nothing in time but calls; where not even all states fit, fewer are kept and those between computed again (Gruslys et
al., 2016, "Memory-efficient backpropagation through time"; see `workloads.bptt.snapshots`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from workloads.bptt.chunks import Chunks
from workloads.bptt.truncation import Reach, Truncation


@dataclass(frozen=True, slots=True)
class StepBytes:
    """What a network keeps, in bytes for the batch at hand."""

    graph: float
    """For going back through one step."""
    state: float
    """Between two steps."""


def plan_chunks(length: int, step: StepBytes, budget: float | None) -> Chunks | None:
    """Choose chunks for `length` steps within `budget` bytes; None where the whole graph fits.

    Without a budget, those that need the least memory at the cost of one more forward pass. Raises ValueError where
    even the least, one step and the state before it, exceeds the budget.
    """
    if budget is not None and length * step.graph <= budget:
        return None
    least = max(min(round(math.sqrt(length * step.state / max(step.graph, 1.0))), length), 1)
    if budget is None:
        return Chunks.of(length, least)
    # Chunks of s steps need s * graph + length / s * state: the longest that fit are the larger root of a quadratic.
    inside = budget**2 - 4 * step.graph * step.state * length
    size = math.floor((budget + math.sqrt(inside)) / (2 * step.graph)) if inside >= 0 else 0
    if size >= 1 and size * step.graph + math.ceil(length / size) * step.state <= budget:
        return Chunks.of(length, size)
    return _with_fewer_states(length, step, budget)


def _with_fewer_states(length: int, step: StepBytes, budget: float) -> Chunks:
    """Give up to half of the budget to one chunk's graph and the rest to as many states as fit."""
    if budget < step.graph + step.state:
        raise ValueError(
            f"train.memory_budget_mb: {budget / 1e6:.3g} MB; one step and the state before it need "
            f"{(step.graph + step.state) / 1e6:.3g} MB, so give at least that, or a smaller batch_size"
        )
    size = max(math.floor(min(budget / 2, budget - step.state) / step.graph), 1)
    left = budget - size * step.graph
    states = length if step.state * length <= left else max(math.floor(left / step.state), 1)
    # The initial state is there anyway.
    return Chunks.of(length, size, snapshots=states - 1)


class FullTruncation(Truncation):
    """`truncation: full`."""

    def __init__(self, seed: int, *, memory_budget_mb: float | None = None) -> None:
        super().__init__(seed)
        self.budget = None if memory_budget_mb is None else memory_budget_mb * 1e6
        self.step_bytes: StepBytes | None = None
        """Measured by whoever has the network, before the first update."""

    def measure(self, step_bytes: Callable[[], StepBytes]) -> None:
        """Measure once."""
        if self.step_bytes is None:
            self.step_bytes = step_bytes()

    def share_memory_with(self, others: int) -> None:
        """Divide the budget evenly."""
        self.budget = None if self.budget is None else self.budget / (1 + others)

    def reach(self, left: int) -> Reach:
        """Read the stream to its end."""
        return Reach(left, left, self.chunks(left))

    def chunks(self, length: int) -> Chunks | None:
        """Cut up, but pass every gradient on."""
        if self.step_bytes is None:
            raise RuntimeError("what a step keeps is measured before the first update")
        return plan_chunks(length, self.step_bytes, self.budget)

    def position(self) -> dict[str, Any]:
        """Return what was measured: another batch might be measured otherwise, and chunks of another size round so."""
        return {} if self.step_bytes is None else asdict(self.step_bytes)

    def go_to(self, position: dict[str, Any]) -> None:
        """Go on with the same chunks."""
        self.step_bytes = StepBytes(**position) if position else None
