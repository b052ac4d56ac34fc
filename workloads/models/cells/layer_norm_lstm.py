"""The LSTM with layer normalisation inside: of its gates' inputs and of its cell state, at every step.

Ba, Kiros and Hinton (2016), "Layer normalization", supplementary material, equations 20 to 22. `train.layer_norm` is
another thing: it normalises what a layer of any cell type puts out, behind the recurrence.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from workloads.models.cells.compiled import LayerNormKept, LayerNormWeights, Sizes
from workloads.models.cells.kernels import TORCH, Choosable, covers, loaded, pointers, room

STEPS_AT_ONCE = 32
CellAndOutput = tuple[Tensor, Tensor]


class LayerNormLSTM(Choosable, nn.Module):
    """(f, i, o, g) = LN(W_h h(t-1)) + LN(W_x x(t)) + b, all four gates normalised together; then

    c(t) = sigmoid(f) c(t-1) + sigmoid(i) tanh(g), h(t) = sigmoid(o) tanh(LN(c(t))).

    Each LN has a gain of its own. The biases of the first two would only add up with b, so one stands for all three.
    Inputs (time, batch, input_size), outputs (time, batch, hidden_size), state (h, c) of (1, batch, hidden_size) each.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.from_input = nn.Linear(input_size, 4 * hidden_size, bias=False)
        self.from_hidden = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.input_norm = nn.LayerNorm(4 * hidden_size)
        self.hidden_norm = nn.LayerNorm(4 * hidden_size, bias=False)
        self.cell_norm = nn.LayerNorm(hidden_size)
        # As in torch's LSTM. With biases of zero, inputs of zeros would leave the cell state at zero, and gradients
        # would explode there: the slope of a norm at nothing is 1 / sqrt(epsilon) = 316.
        nn.init.uniform_(self.input_norm.bias, -1 / math.sqrt(hidden_size), 1 / math.sqrt(hidden_size))

    def forward(self, inputs: Tensor, state: CellAndOutput | None = None) -> tuple[Tensor, CellAndOutput]:
        """Run one window."""
        weight, gain, cell_norm = self.from_hidden.weight, self.hidden_norm.weight, self.cell_norm
        zeros = weight.new_zeros(inputs.shape[1], self.hidden_size)
        hidden, cell = (zeros, zeros) if state is None else (state[0][0], state[1][0])
        # At the first step of a sequence the same slope would drown whatever is measured of gradients by distance. No
        # weight gets a gradient through it: it is multiplied by zero.
        hidden = torch.where((hidden == 0).all(-1, keepdim=True), hidden.detach(), hidden)
        drives = self.input_norm(self.from_input(inputs)).to(weight.dtype)  # (time, batch, 4 hidden)
        watched = [hidden, cell, weight, gain, cell_norm.weight, cell_norm.bias]
        is_whole = self.kernel != TORCH and hidden.shape == cell.shape == zeros.shape
        if is_whole and covers(*drives.shape[:2], drives, *watched):
            return _run(drives, *watched)
        outputs = []
        for drive in drives.unbind():
            recurrent = functional.linear(hidden, weight).to(weight.dtype)
            gates = drive + functional.layer_norm(recurrent, gain.shape, gain)
            forget, admit, release = gates[:, : 3 * self.hidden_size].sigmoid().chunk(3, -1)
            cell = forget * cell + admit * gates[:, 3 * self.hidden_size :].tanh()
            normed = functional.layer_norm(cell, (self.hidden_size,), cell_norm.weight, cell_norm.bias)
            hidden = release * normed.tanh()
            outputs.append(hidden)
        return torch.stack(outputs), (hidden[None], cell[None])


def _run(drives: Tensor, hidden: Tensor, cell: Tensor, *weights: Tensor) -> tuple[Tensor, CellAndOutput]:
    """Run the compiled steps; where nothing is kept for a way back, some at a time, so that little is held."""
    outputs = []
    for part in [drives] if torch.is_grad_enabled() else torch.split(drives, STEPS_AT_ONCE):
        output, hidden, cell = _Recurrence.apply(part, hidden, cell, *weights)  # type: ignore[no-untyped-call]
        outputs.append(output)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs), (hidden[None], cell[None])


class _Recurrence(torch.autograd.Function):
    """All steps behind the inputs' side, compiled; its arguments and results are contiguous or made so."""

    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        drives, before, cell_before, *weights = (tensor.contiguous() for tensor in given)
        steps, batch, hidden = *drives.shape[:2], before.shape[1]
        widths = (4 * hidden, 4 * hidden, hidden, hidden, hidden, 2)
        kept = [drives.new_empty(steps, batch, width) for width in widths]
        outputs = drives.new_empty(steps, batch, hidden)
        sizes = Sizes(steps, batch, 0, hidden)
        work = room(loaded().layer_norm_lstm_work_size(sizes))
        with_weights, to = LayerNormWeights(*pointers(weights)), LayerNormKept(*pointers(kept))
        first, last = pointers([drives, before, cell_before]), pointers([outputs, work])
        loaded().layer_norm_lstm_forward(sizes, *first, with_weights, to, *last)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(before, cell_before, *weights, *kept, outputs)
        return outputs, outputs[-1].clone(), kept[2][-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_outputs: Tensor | None, *to_after: Tensor | None) -> tuple[Tensor, ...]:
        before, cell_before, *others, outputs = ctx.saved_tensors
        weights, kept = others[:4], others[4:]
        to_outputs = torch.zeros_like(outputs) if to_outputs is None else to_outputs.contiguous()
        carried = [torch.zeros_like(before) if each is None else each.contiguous().clone() for each in to_after]
        to_drives, to_weights = torch.empty_like(kept[0]), [torch.zeros_like(weight) for weight in weights]
        sizes = Sizes(*outputs.shape[:2], 0, outputs.shape[2])
        work = room(loaded().layer_norm_lstm_work_size(sizes))
        with_weights, kept_there = LayerNormWeights(*pointers(weights)), LayerNormKept(*pointers(kept))
        arrays = pointers([outputs, to_outputs, *carried, to_drives])
        to = LayerNormWeights(*pointers(to_weights))
        places = pointers([before, cell_before])
        loaded().layer_norm_lstm_backward(sizes, *places, with_weights, kept_there, *arrays, to, work.data_ptr())
        return to_drives, *carried, *to_weights
