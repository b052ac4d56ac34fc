"""Recurrent cells by name: torch's fused kernels, those of this package, or a class of the user's own.

A cell is one layer: a module called as `cell(inputs, state)` that returns `(outputs, state)`, with
inputs (time, batch, features), outputs (time, batch, hidden) and a state of one tensor or a tuple of
tensors, None at the start of a sequence. That is the convention of `torch.nn.LSTM`, so torch's own
classes are cells, and a user's class needs only `__init__(input_size, hidden_size)`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from workloads import import_name
from workloads.models.cells.classical import GRU, LSTM, RNN
from workloads.models.cells.ind_rnn import IndRNN
from workloads.models.cells.layer_norm_lstm import LayerNormLSTM
from workloads.models.cells.lru import LRU
from workloads.models.cells.min_rnn import MinGRU, MinLSTM
from workloads.models.cells.slstm import SLSTM

BUILTIN: dict[str, Callable[[int, int], nn.Module]] = {
    "rnn": lambda inputs, hidden: RNN(inputs, hidden, nonlinearity="tanh"),
    "rnn_relu": lambda inputs, hidden: RNN(inputs, hidden, nonlinearity="relu"),
    "lstm": LSTM,
    "gru": GRU,
    "layer_norm_lstm": LayerNormLSTM,
    "ind_rnn": IndRNN,
    "min_gru": MinGRU,
    "min_lstm": MinLSTM,
    "slstm": SLSTM,
    "lru": LRU,
}


def make_cell(cell_type: str, input_size: int, hidden_size: int) -> nn.Module:
    """Return one recurrent layer; ValueError where a user's class cannot be imported or is no module."""
    if cell_type in BUILTIN:
        return BUILTIN[cell_type](input_size, hidden_size)
    own = import_name(cell_type, "train.cell_type")
    if not (isinstance(own, type) and issubclass(own, nn.Module)):
        raise ValueError(f"train.cell_type: {cell_type} is not a torch.nn.Module")  # noqa: TRY004
    return own(input_size, hidden_size)
