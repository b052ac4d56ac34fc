"""IndRNN: every unit sees its own past alone.

Li et al. (2018), "Independently recurrent neural network (IndRNN): building a longer and deeper RNN". Sequences of T
steps ask for |u| <= 2 ** (1 / T), that no gradient may grow beyond a factor of 2 (there for rectified units).
A stream's state is carried on without end, so T is without limit here, and the limit of the bound is 1.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from workloads.models.cells.linear_scan import run_back


class IndRNN(nn.Module):
    """h(t) = relu(W x(t) + u * h(t-1) + b) with |u| <= 1, u drawn evenly from 0 to 1 at the start.

    Inputs (time, batch, input_size), outputs (time, batch, hidden_size), state (1, batch, hidden_size).
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.from_input = nn.Linear(input_size, hidden_size)
        self.recurrent = nn.Parameter(torch.rand(hidden_size))

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run one window."""
        before = self.recurrent.new_zeros(inputs.shape[1], self.hidden_size) if state is None else state[0]
        drives = self.from_input(inputs).to(self.recurrent.dtype)  # (time, batch, hidden)
        recurrent = _Bounded.apply(self.recurrent)  # type: ignore[no-untyped-call]
        outputs = cast("Tensor", _IndependentSteps.apply(drives, recurrent, before))  # type: ignore[no-untyped-call]
        return outputs, outputs[-1:].clone()


class _Bounded(torch.autograd.Function):
    """Clamps to [-1, 1]; a weight that an update has carried beyond still gets the gradients that lead it back."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor) -> Tensor:
        ctx.save_for_backward(weights)
        return weights.clamp(-1, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (weights,) = ctx.saved_tensors
        # An update goes against the gradient: one of the sign of a weight beyond the bound leads back.
        leads_out = (weights.abs() > 1) & (weights * gradients[0] < 0)
        return gradients[0].masked_fill(leads_out, 0.0)


class _IndependentSteps(torch.autograd.Function):
    """The recurrence itself. Its way back is a linear recurrence, and outputs are all that it needs."""

    @staticmethod
    def forward(ctx: Any, drives: Tensor, recurrent: Tensor, before: Tensor) -> Tensor:
        if len(drives) == 1:  # as a stream has it, and an exported file: nothing is written in place
            outputs = torch.addcmul(drives, recurrent, before).relu()
        else:
            outputs, hidden = torch.empty_like(drives, memory_format=torch.contiguous_format), before
            for drive, output in zip(drives.unbind(), outputs.unbind(), strict=True):
                hidden = torch.addcmul(drive, recurrent, hidden, out=output).relu_()
        ctx.save_for_backward(recurrent, before, outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        recurrent, before, outputs = ctx.saved_tensors
        active = (outputs > 0).to(outputs.dtype)
        to_drives = active * run_back(active * recurrent, gradients[0])  # (time, batch, hidden)
        to_recurrent = (to_drives * torch.cat([before[None], outputs[:-1]])).sum((0, 1))
        return to_drives, to_recurrent, recurrent * to_drives[0]
