"""torch's GRU and RNN with another way through time on a CPU: one product for all steps wherever no step waits for one.

The inputs' side of all steps is one product; then each step is a product with weights that were packed once, and its
gates in one go, nothing allocated between. The way back does the same, and the gradients of weights are one product
over all steps at its end. Weights, their names and the states are torch's, so checkpoints are too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from workloads.models.cells import compiled
from workloads.models.cells.compiled import Sizes, Weights

TORCH, COMPILED = "torch", "compiled"
KERNELS = (TORCH, COMPILED)
KINDS = ("tanh", "relu", "gru")
"""In the order of the C code's numbers."""
FEWEST_STEPS = 4
"""For windows of fewer, laying out the weights takes as long as running with them."""


class GRU(nn.GRU):
    """torch's GRU; `kernel` says how it is run in training, where that is covered: see `covers`."""

    kernel = TORCH
    kind = "gru"

    def forward(self, inputs: Any, state: Any = None) -> Any:
        """Run one window."""
        return run(self, inputs, state) if covers(self, inputs, state) else super().forward(inputs, state)


class RNN(nn.RNN):
    """torch's RNN, with tanh or relu; see `GRU`."""

    kernel = TORCH

    @property
    def kind(self) -> str:
        """Return the nonlinearity."""
        return str(self.nonlinearity)

    def forward(self, inputs: Any, state: Any = None) -> Any:
        """Run one window."""
        return run(self, inputs, state) if covers(self, inputs, state) else super().forward(inputs, state)


def set_kernel(network: nn.Module, kernel: str) -> str:
    """Run the layers of `network` that there is a choice for with `kernel`, one of KERNELS, if it is there.

    Returns the kernel that they run with now. The first call on a kind of machine compiles for some seconds.
    """
    layers = [module for module in network.modules() if isinstance(module, GRU | RNN)]
    if not layers or (kernel == COMPILED and compiled.kernels() is None):
        kernel = TORCH
    for layer in layers:
        layer.kernel = kernel
    return kernel


def choose_kernel(network: nn.Module, device: torch.device) -> str:
    """Run `network` on `device` with the kernels that are fastest there, and return which those are.

    What is compiled runs on one thread: where torch may take more, torch's own are left.
    """
    return set_kernel(network, TORCH if device.type != "cpu" or torch.get_num_threads() > 1 else COMPILED)


def covers(cell: GRU | RNN, inputs: Any, state: Any) -> bool:
    """Tell whether the cell's kernel can run these inputs.

    It can a window of more than a few steps in single precision on a CPU, in one layer and one direction. Packed
    sequences, other precisions, what is being traced and what is wrong in its shape are torch's.
    """
    if cell.kernel == TORCH or type(inputs) is not Tensor or inputs.ndim != 3 or torch.compiler.is_compiling():
        return False
    if cell.num_layers > 1 or cell.bidirectional or cell.batch_first or not cell.bias:
        return False
    steps, batch, width = inputs.shape
    if width != cell.input_size or steps < FEWEST_STEPS or torch.is_autocast_enabled("cpu"):
        return False
    tensors = [inputs, *weights_of(cell)]
    if state is not None:
        if type(state) is not Tensor or state.shape != (1, batch, cell.hidden_size):
            return False
        tensors.append(state)
    return all(each.dtype == torch.float32 and each.device.type == "cpu" for each in tensors)


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
        _loaded().forward(KINDS.index(kind), sizes, *_pointers(arrays))
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
        to = Weights(*_pointers(to_weights))
        _loaded().backward(KINDS.index(ctx.kind), sizes, *_pointers(arrays), to, work.data_ptr())
        return None, to_inputs, carried, *to_weights


def _room(kind: str, inputs: Tensor, before: Tensor) -> tuple[Sizes, Tensor]:
    """Return the sizes, and an array to work in."""
    sizes = Sizes(*inputs.shape, before.shape[1])
    return sizes, inputs.new_empty(_loaded().work_size(KINDS.index(kind), sizes))


def _pointers(arrays: Sequence[Tensor | None]) -> list[int | None]:
    return [None if array is None else array.data_ptr() for array in arrays]


def _loaded() -> compiled.Kernels:
    found = compiled.kernels()
    if found is None:
        raise RuntimeError("the compiled kernel was chosen where there is none")
    return found
