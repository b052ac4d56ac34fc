"""torch's GRU and RNN with another way through time on one CPU thread: compiled, forward and backward as a whole.

Where no step waits for another, many are one product: the inputs' side, its gradients, and those of all weights. What
is left to each step is one product, with weights that were packed once, and its gates in one go; nothing is allocated
between. Weights, their names and the states are torch's, so checkpoints are too. Gradients of gradients: torch's alone.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from workloads.models.cells.compiled import Sizes, Weights
from workloads.models.cells.kernels import TORCH, Choosable, covers, loaded, pointers, room

KINDS = ("tanh", "relu", "gru")
"""In the order of the C code's numbers."""


class GRU(Choosable, nn.GRU):
    """torch's GRU; `kernel` says how it is run in training, where that is covered: see `covers_window`."""

    kind = "gru"

    def forward(self, inputs: Any, state: Any = None) -> Any:
        """Run one window."""
        return run(self, inputs, state) if covers_window(self, inputs, state) else super().forward(inputs, state)


class RNN(Choosable, nn.RNN):
    """torch's RNN, with tanh or relu; see `GRU`."""

    @property
    def kind(self) -> str:
        """Return the nonlinearity."""
        return str(self.nonlinearity)

    def forward(self, inputs: Any, state: Any = None) -> Any:
        """Run one window."""
        return run(self, inputs, state) if covers_window(self, inputs, state) else super().forward(inputs, state)


def covers_window(cell: GRU | RNN, inputs: Any, state: Any) -> bool:
    """Tell whether the cell's kernel can run these inputs: those of one layer in one direction.

    Packed sequences and what is wrong in its shape are torch's, beside what `kernels.covers` leaves to it.
    """
    if cell.kernel == TORCH or cell.num_layers > 1 or cell.bidirectional or cell.batch_first or not cell.bias:
        return False
    if type(inputs) is not Tensor or inputs.ndim != 3 or inputs.shape[2] != cell.input_size:
        return False
    if state is None:
        return covers(inputs, *weights_of(cell))
    if type(state) is not Tensor or state.shape != (1, inputs.shape[1], cell.hidden_size):
        return False
    return covers(inputs, state, *weights_of(cell))


def weights_of(cell: GRU | RNN) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the weights from inputs and from the state, and the biases of both."""
    found = cell.weight_ih_l0, cell.weight_hh_l0, cell.bias_ih_l0, cell.bias_hh_l0
    return cast("tuple[Tensor, Tensor, Tensor, Tensor]", found)


def run(cell: GRU | RNN, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """Run a window that the kernel covers."""
    before = inputs.new_zeros(inputs.shape[1], cell.hidden_size) if state is None else state[0]
    outputs, after = _Recurrence.apply(cell.kind, inputs, before, *weights_of(cell))  # type: ignore[no-untyped-call]
    return cast("Tensor", outputs), cast("Tensor", after)[None]


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kind: str, *given: Tensor) -> tuple[Tensor, Tensor]:
        inputs, before, *weights = (tensor.contiguous() for tensor in given)
        outputs = inputs.new_empty(*inputs.shape[:2], before.shape[1])  # (time, batch, hidden)
        gates = inputs.new_empty(*inputs.shape[:2], 4 * before.shape[1]) if kind == "gru" else None
        sizes, work = _room(kind, inputs, before)
        arrays = [inputs, before, *weights, gates, outputs, work]
        loaded().forward(KINDS.index(kind), sizes, *pointers(arrays))
        ctx.kind = kind
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(inputs, before, *weights[:2], gates, outputs)
        return outputs, outputs[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_outputs: Tensor | None, to_after: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs, before, from_input, from_hidden, gates, outputs = ctx.saved_tensors
        to_outputs = torch.zeros_like(outputs) if to_outputs is None else to_outputs.contiguous()
        carried = (
            torch.zeros_like(before) if to_after is None else to_after.clone(memory_format=torch.contiguous_format)
        )
        to_inputs = torch.empty_like(inputs) if ctx.needs_input_grad[1] else None
        to_weights = [torch.zeros_like(weight) for weight in (from_input, from_hidden)]
        to_weights += [from_input.new_zeros(len(from_input)) for _ in range(2)]
        sizes, work = _room(ctx.kind, inputs, before)
        arrays = [inputs, before, from_input, from_hidden, gates, outputs, to_outputs, carried, to_inputs]
        to = Weights(*pointers(to_weights))
        loaded().backward(KINDS.index(ctx.kind), sizes, *pointers(arrays), to, work.data_ptr())
        return None, to_inputs, carried, *to_weights


def _room(kind: str, inputs: Tensor, before: Tensor) -> tuple[Sizes, Tensor]:
    """Return the sizes, and an array to work in."""
    sizes = Sizes(*inputs.shape, before.shape[1])
    return sizes, room(loaded().work_size(KINDS.index(kind), sizes))
