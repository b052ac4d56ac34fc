"""Recurrent cells by name: torch's fused kernels, or a class of the user's own.

A cell is one layer: a module called as `cell(inputs, state)` that returns `(outputs, state)`, with
inputs (time, batch, features), outputs (time, batch, hidden) and a state of one tensor or a tuple of
tensors, None at the start of a sequence. That is the convention of `torch.nn.LSTM`, so torch's own
classes are cells, and a user's class needs only `__init__(input_size, hidden_size)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from workloads import import_name

CellState = Tensor | tuple[Tensor, ...] | None
State = tuple[CellState, ...] | None
"""The state of a whole network: one entry for each layer; None at the start of a sequence."""

BUILTIN: dict[str, Callable[[int, int], nn.Module]] = {
    "rnn": lambda inputs, hidden: nn.RNN(inputs, hidden, nonlinearity="tanh"),
    "rnn_relu": lambda inputs, hidden: nn.RNN(inputs, hidden, nonlinearity="relu"),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}


def make_cell(cell_type: str, input_size: int, hidden_size: int) -> nn.Module:
    """Return one recurrent layer; ValueError where a user's class cannot be imported or is no module."""
    if cell_type in BUILTIN:
        return BUILTIN[cell_type](input_size, hidden_size)
    own = import_name(cell_type, "train.cell_type")
    if not (isinstance(own, type) and issubclass(own, nn.Module)):
        raise ValueError(f"train.cell_type: {cell_type} is not a torch.nn.Module")  # noqa: TRY004
    return own(input_size, hidden_size)


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


def state_tensors(state: Any) -> list[Tensor]:
    """Return the tensors of a state, in a fixed order."""
    found: list[Tensor] = []
    map_state(found.append, state)
    return found
