"""torch's RNN, GRU and LSTM with another way through time on one CPU thread: compiled, forward and backward as a whole.

Where no step waits for another, many are one product: the inputs' side, its gradients, and those of all weights. What
is left to each step is one product, with weights that were packed once, and its gates in one go; nothing is allocated
between. Weights, their names and the states are torch's, so checkpoints are too. Gradients of gradients: torch's alone.

Of inputs that an embedding of few vectors gives (`Embedded`) nothing is computed step by step: what each vector gives
the gates is one small product for all, looked up at each step. Half of a layer's products are those of its inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from workloads.lookup import is_looked_up
from workloads.models.cells.compiled import Sizes, Weights
from workloads.models.cells.kernels import TORCH, Choosable, covers, loaded, pointers, room

NUMBERS = (torch.int32, torch.int64)
KINDS = ("tanh", "relu", "gru", "lstm")
"""In the order of the C code's numbers."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Inputs as an embedding gives them, by their numbers."""

    numbers: Tensor
    """(time, batch), whole."""
    vectors: Tensor
    """(vocabulary, features)."""

    def looked_up(self) -> Tensor:
        """Return the inputs (time, batch, features)."""
        return nn.functional.embedding(self.numbers, self.vectors)


class RNN(Choosable, nn.RNN):
    """torch's RNN, tanh or relu; `kernel` says how it is run in training where that is covered, see `covers_window`."""

    @property
    def kind(self) -> str:
        """Return the nonlinearity."""
        return str(self.nonlinearity)

    def forward(self, inputs: Any, state: Any = None) -> Any:
        """Run one window."""
        inputs = inputs_of(self, inputs, state)
        return run(self, inputs, state) if covers_window(self, inputs, state) else super().forward(inputs, state)


class GRU(Choosable, nn.GRU):
    """torch's GRU; see `RNN`."""

    kind = "gru"

    def forward(self, inputs: Any, state: Any = None) -> Any:
        """Run one window."""
        inputs = inputs_of(self, inputs, state)
        return run(self, inputs, state) if covers_window(self, inputs, state) else super().forward(inputs, state)


class LSTM(Choosable, nn.LSTM):
    """torch's LSTM; see `RNN`."""

    kind = "lstm"

    def forward(self, inputs: Any, state: Any = None) -> Any:
        """Run one window."""
        inputs = inputs_of(self, inputs, state)
        return run(self, inputs, state) if covers_window(self, inputs, state) else super().forward(inputs, state)


Cell = RNN | GRU | LSTM


def takes_numbers(layer: nn.Module) -> bool:
    """Tell whether a layer may be given `Embedded`: one that is run by the kernel here."""
    return isinstance(layer, Cell) and layer.kernel != TORCH


def inputs_of(cell: Cell, inputs: Any, state: Any) -> Any:
    """Return inputs as they are run: what is embedded stays so where the kernel takes it, and that costs less."""
    if type(inputs) is not Embedded:
        return inputs
    if covers_window(cell, inputs, state) and is_looked_up(len(inputs.vectors), inputs.numbers.numel()):
        return inputs
    return inputs.looked_up()


def covers_window(cell: Cell, inputs: Any, state: Any) -> bool:
    """Tell whether the cell's kernel can run these inputs: those of one layer in one direction.

    Packed sequences and what is wrong in its shape are torch's, beside what `kernels.covers` leaves to it.
    """
    if cell.kernel == TORCH or cell.num_layers > 1 or cell.bidirectional or cell.batch_first or not cell.bias:
        return False
    is_embedded = type(inputs) is Embedded
    vectors, steps = (inputs.vectors, inputs.numbers) if is_embedded else (inputs, inputs)
    if cell.proj_size or type(vectors) not in (Tensor, nn.Parameter) or vectors.shape[-1] != cell.input_size:
        return False
    if vectors.ndim != 3 - is_embedded or steps.ndim != vectors.ndim:
        return False
    if is_embedded and (type(steps) is not Tensor or steps.dtype not in NUMBERS or steps.device.type != "cpu"):
        return False
    if state is None:
        return covers(*steps.shape[:2], vectors, *weights_of(cell))
    if cell.kind == "lstm" and not (isinstance(state, tuple | list) and len(state) == 2):
        return False
    states, shape = states_of(cell, state), (1, steps.shape[1], cell.hidden_size)
    if not all(type(each) is Tensor and each.shape == shape for each in states):
        return False
    return covers(*steps.shape[:2], vectors, *states, *weights_of(cell))


def states_of(cell: Cell, state: Any) -> tuple[Any, ...]:
    """Return h, and of an LSTM c too."""
    return tuple(state) if cell.kind == "lstm" else (state,)


def weights_of(cell: Cell) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the weights from inputs and from the state, and the biases of both."""
    found = cell.weight_ih_l0, cell.weight_hh_l0, cell.bias_ih_l0, cell.bias_hh_l0
    return cast("tuple[Tensor, Tensor, Tensor, Tensor]", found)


def run(cell: Cell, inputs: Tensor | Embedded, state: Any) -> tuple[Tensor, Any]:
    """Run a window that the kernel covers; return the outputs and the state behind them."""
    from_input, *weights = weights_of(cell)
    numbers = None
    if isinstance(inputs, Embedded):
        numbers = inputs.numbers.long().contiguous()
        inputs = nn.functional.linear(inputs.vectors, from_input)  # (vocabulary, rows of weights)
    batch = (inputs if numbers is None else numbers).shape[1]
    zeros = inputs.new_zeros(1, batch, cell.hidden_size)
    states = (zeros, zeros)[: 2 if cell.kind == "lstm" else 1] if state is None else states_of(cell, state)
    before, *cells = (each[0] for each in states)
    own = from_input if numbers is None else None
    arguments: list[Any] = [cell.kind, inputs, numbers, before, cells[0] if cells else None, own, *weights]
    if torch.is_grad_enabled():
        outputs, *after = _Recurrence.apply(*arguments)  # type: ignore[no-untyped-call]
    else:
        outputs, *after = _forward(*arguments)[0]
    behind = tuple(each[None] for each in after if each is not None)
    return outputs, behind if cells else behind[0]


def _forward(
    kind: str,
    inputs: Tensor,
    numbers: Tensor | None,
    before: Tensor,
    cells_before: Tensor | None,
    *weights: Tensor | None,
    keep: bool = False,
) -> tuple[tuple[Tensor, Tensor, Tensor | None], list[Tensor | None]]:
    """Return the outputs and the state behind them; and, to `keep` for the way back, what it reads.

    With numbers, inputs are what each vector gives the gates; IndexError where a number has no vector.
    """
    inputs, before = inputs.contiguous(), before.contiguous()
    weights_read = [None if weight is None else weight.contiguous() for weight in weights]
    (steps, batch), hidden = (inputs if numbers is None else numbers).shape[:2], before.shape[1]
    outputs = inputs.new_empty(steps, batch, hidden)
    gates = inputs.new_empty(steps, batch, 4 * hidden) if keep and kind in ("gru", "lstm") else None
    cells = None
    if cells_before is not None:
        cells_before, cells = cells_before.contiguous(), inputs.new_empty(steps if keep else 2, batch, hidden)
    sizes, work = _room(kind, inputs, numbers, before)
    arrays = [inputs, numbers, before, cells_before, *weights_read, gates, cells, outputs, work]
    if not loaded().forward(KINDS.index(kind), sizes, *pointers(arrays)):
        raise IndexError(f"a number of an embedding is not from 0 to {len(inputs) - 1}")
    cells_after = None if cells is None else cells[(steps - 1) % len(cells)].clone()
    kept = [inputs, numbers, before, cells_before, *weights_read[:2], gates, cells, outputs]
    return (outputs, outputs[-1].clone(), cells_after), kept


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kind: str, *arguments: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        made, kept = _forward(kind, *arguments, keep=True)
        ctx.kind = kind
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*kept)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_outputs: Tensor | None, *to_after: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs, numbers, before, cells_before, from_input, from_hidden, gates, cells, outputs = ctx.saved_tensors
        to_outputs = torch.zeros_like(outputs) if to_outputs is None else to_outputs.contiguous()
        carried: list[Tensor | None] = [
            torch.zeros_like(before) if each is None else each.clone(memory_format=torch.contiguous_format)
            for each in to_after[: 1 if cells is None else 2]
        ]
        carried += [None] * (cells is None)
        to_inputs = None
        if ctx.needs_input_grad[1]:
            to_inputs = torch.empty_like(inputs) if numbers is None else torch.zeros_like(inputs)
        to_weights = [None if from_input is None else torch.empty_like(from_input), torch.empty_like(from_hidden)]
        to_weights += [from_hidden.new_empty(len(from_hidden)) for _ in range(2)]
        sizes, work = _room(ctx.kind, inputs, numbers, before)
        arrays = [inputs, numbers, before, cells_before, from_input, from_hidden, gates, cells, outputs, to_outputs]
        arrays += [*carried, to_inputs]
        to = Weights(*pointers(to_weights))
        loaded().backward(KINDS.index(ctx.kind), sizes, *pointers(arrays), to, work.data_ptr())
        return None, to_inputs, None, *carried, *to_weights


def _room(kind: str, inputs: Tensor, numbers: Tensor | None, before: Tensor) -> tuple[Sizes, Tensor]:
    """Return the sizes, and an array to work in."""
    steps, batch = (inputs if numbers is None else numbers).shape[:2]
    given = inputs.shape[2] if numbers is None else 0  # a table of inputs is not laid out anew
    size = loaded().work_size(KINDS.index(kind), Sizes(steps, batch, given, before.shape[1]))
    return Sizes(steps, batch, len(inputs) if numbers is not None else given, before.shape[1]), room(size)
