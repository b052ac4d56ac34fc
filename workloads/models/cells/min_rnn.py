"""minGRU and minLSTM: gates that look at the inputs alone, so that all steps can be run at once.

Feng et al. (2024), "Were RNNs all we needed?", sections 3.1 and 3.2. Their appendix runs the recurrence on logarithms,
for which candidates must be made positive; here they stay as in the equations below, of either sign, since
`linear_scan` needs no logarithms to be exact over long windows. Gates lie in (0, 1), so states never leave the range of
the candidates.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from workloads.models.cells.compiled import Sizes
from workloads.models.cells.kernels import TORCH, Choosable, covers, loaded, pointers, room
from workloads.models.cells.linear_scan import linear_scan


class MinGRU(Choosable, nn.Module):
    """h(t) = (1 - z(t)) h(t-1) + z(t) h~(t), with z = sigmoid(W_z x + b_z) and h~ = W_h x + b_h.

    Inputs (time, batch, input_size), outputs (time, batch, hidden_size), state (1, batch, hidden_size).
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.from_input = nn.Linear(input_size, 2 * hidden_size)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run one window."""
        weight, bias = self.from_input.weight, self.from_input.bias
        before = weight.new_zeros(inputs.shape[1], self.hidden_size) if state is None else state[0]
        if self.kernel != TORCH and self._covers(inputs, before):
            outputs = cast("Tensor", _MinGRU.apply(inputs, before, weight, bias))  # type: ignore[no-untyped-call]
        else:
            gate, candidate = self.from_input(inputs).to(weight.dtype).chunk(2, -1)  # (time, batch, hidden) each
            outputs = linear_scan((-gate).sigmoid(), gate.sigmoid() * candidate, before)
        return outputs, outputs[-1:].clone()

    def _covers(self, inputs: Tensor, before: Tensor) -> bool:
        """Tell whether the kernel can run a window; what is wrong in its shape is torch's to say."""
        if inputs.ndim != 3 or inputs.shape[2] != self.input_size or self.from_input.bias is None:
            return False
        is_whole = before.shape == (inputs.shape[1], self.hidden_size)
        return is_whole and covers(*inputs.shape[:2], inputs, before, *self.from_input.parameters())


class _MinGRU(torch.autograd.Function):
    """All of a minGRU, compiled; its arguments are made contiguous."""

    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        inputs, before, weight, bias = (tensor.contiguous() for tensor in given)
        sums = inputs.new_empty(*inputs.shape[:2], len(weight))  # (time, batch, 2 hidden)
        outputs = inputs.new_empty(*inputs.shape[:2], before.shape[1])
        sizes, work = _room(inputs, before)
        loaded().min_gru_forward(sizes, *pointers([inputs, before, weight, bias, sums, outputs, work]))
        ctx.save_for_backward(inputs, before, weight, sums, outputs)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, before, weight, sums, outputs = ctx.saved_tensors
        carried, to_weight, to_bias = torch.zeros_like(before), torch.zeros_like(weight), weight.new_zeros(len(weight))
        to_inputs = torch.empty_like(inputs) if ctx.needs_input_grad[0] else None
        sizes, work = _room(inputs, before)
        arrays = [inputs, before, weight, sums, outputs, gradients[0].contiguous(), carried]
        loaded().min_gru_backward(sizes, *pointers([*arrays, to_inputs, to_weight, to_bias, work]))
        return to_inputs, carried, to_weight, to_bias


def _room(inputs: Tensor, before: Tensor) -> tuple[Sizes, Tensor]:
    """Return the sizes, and an array to work in."""
    sizes = Sizes(*inputs.shape, before.shape[1])
    return sizes, room(loaded().min_gru_work_size(sizes))


class MinLSTM(nn.Module):
    """h(t) = f'(t) h(t-1) + i'(t) h~(t), with f' = f / (f + i), i' = i / (f + i) and h~ = W_h x + b_h.

    f = sigmoid(W_f x + b_f) and i = sigmoid(W_i x + b_i). Shapes are those of MinGRU.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.from_input = nn.Linear(input_size, 3 * hidden_size)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run one window."""
        weight = self.from_input.weight
        before = weight.new_zeros(inputs.shape[1], self.hidden_size) if state is None else state[0]
        forget, admit, candidate = self.from_input(inputs).to(weight.dtype).chunk(3, -1)  # (time, batch, hidden) each
        # The ratio of both gates by their logarithms: f / (f + i) = sigmoid(log f - log i), also where both vanish.
        kept = functional.logsigmoid(forget) - functional.logsigmoid(admit)
        outputs = linear_scan(kept.sigmoid(), (-kept).sigmoid() * candidate, before)
        return outputs, outputs[-1:].clone()
