"""The state that a recurrent network carries from step to step, whatever its cells make it of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

CellState = Tensor | tuple[Tensor, ...] | None
State = tuple[CellState, ...] | None
"""The state of a whole network: one entry for each layer; None at the start of a sequence."""


def map_state(function: Callable[[Tensor], Any], state: Any) -> Any:
    """Apply `function` to every tensor of a state, keeping its shape; ValueError where it is made of something else."""
    if state is None:
        return None
    if isinstance(state, Tensor):
        return function(state)
    if type(state) not in (tuple, list):  # a class of the user's own would not come back from a checkpoint
        raise ValueError(
            f"train.cell_type: the cell's state is a {type(state).__name__}; it must be of tensors and plain tuples"
        )
    return tuple(map_state(function, part) for part in state)


def watched(tensor: Tensor) -> Tensor:
    """Cut a state's tensor off from what came before and ask for its gradient; a cell may count steps in its state."""
    return tensor.detach().requires_grad_(tensor.is_floating_point())


def state_tensors(state: Any) -> list[Tensor]:
    """Return the tensors of a state, in a fixed order."""
    found: list[Tensor] = []
    map_state(found.append, state)
    return found
