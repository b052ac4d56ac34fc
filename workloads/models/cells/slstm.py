"""sLSTM: an LSTM with exponential gates, which can revise what it has stored.

Beck et al. (2024), "xLSTM: extended long short-term memory", equations 8 to 17, with one head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

SLSTMState = tuple[Tensor, Tensor, Tensor, Tensor]


class SLSTM(nn.Module):
    """With z~, o~, i~, f~ = W x(t) + R h(t-1) + b, z = tanh(z~), o = sigmoid(o~), i = exp(i~), f = sigmoid(f~):

    c(t) = f c(t-1) + i z, n(t) = f n(t-1) + i, h(t) = o c(t) / n(t).

    Inputs (time, batch, input_size), outputs (time, batch, hidden_size), state (h, c, n, m) of (1, batch, hidden_size)
    each. What is carried as c and n is both times exp(-m), m(t) = max(log f + m(t-1), i~): then one of the two gates is
    1 and the other less at every step, nothing overflows, and n is at least 1. Forget biases begin between 3 and 6, one
    unit after another, so that at first some units forget within 20 steps and others within 400.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.from_input = nn.Linear(input_size, 4 * hidden_size)
        self.from_hidden = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        with torch.no_grad():
            self.from_input.bias[3 * hidden_size :] = torch.linspace(3, 6, hidden_size)

    def forward(self, inputs: Tensor, state: SLSTMState | None = None) -> tuple[Tensor, SLSTMState]:
        """Run one window."""
        weight = self.from_hidden.weight
        zeros = weight.new_zeros(inputs.shape[1], self.hidden_size)
        before = (zeros,) * 4 if state is None else tuple(part[0] for part in state)
        drives = self.from_input(inputs).to(weight.dtype)  # (time, batch, 4 hidden)
        if torch.is_grad_enabled():
            outputs, *after = _Recurrence.apply(drives, weight, *before)  # type: ignore[no-untyped-call]
        else:
            outputs = torch.stack([(last := step).hidden for step in _steps(drives, weight, *before)])
            after = [last.hidden, last.cell, last.norm, last.scale]
        hidden, cell, norm, scale = (part[None] for part in after)
        return outputs, (hidden, cell, norm, scale)


class _Step(NamedTuple):
    """What one step makes, each (batch, hidden_size)."""

    hidden: Tensor
    cell: Tensor
    norm: Tensor
    candidate: Tensor
    release: Tensor
    admitting: Tensor
    forgetting: Tensor
    slope: Tensor
    """Of log f by f~."""
    scale: Tensor


def _steps(drives: Tensor, weight: Tensor, *before: Tensor) -> Iterator[_Step]:
    """Go through a window's steps."""
    hidden, cell, norm, scale = before
    empty: Tensor | None = norm == 0
    for drive in drives.unbind():
        candidate, release, admit, forget = (drive + functional.linear(hidden, weight)).chunk(4, -1)
        log_forget = functional.logsigmoid(forget)
        if empty is not None:
            # Where nothing is stored yet any scale is right; this one makes n(1) = 1, whatever i~ is.
            scale, empty = torch.where(empty, admit - log_forget, scale), None
        kept = log_forget + scale
        scale = torch.maximum(kept, admit)
        forgetting, admitting = (kept - scale).exp(), (admit - scale).exp()
        candidate, release = candidate.tanh(), release.sigmoid()
        cell = forgetting * cell + admitting * candidate
        norm = forgetting * norm + admitting
        hidden = release * cell / norm
        yield _Step(hidden, cell, norm, candidate, release, admitting, forgetting, (-forget).sigmoid(), scale)


class _Recurrence(torch.autograd.Function):
    """All steps, with their way back by hand: one product over time for the weight's gradient, in place of one a step.

    c / n does not depend on how both are scaled, so no gradient need travel through the scale; but for the first one,
    which c(0) and n(0) are given with. There is no way back through the way back.
    """

    @staticmethod
    def forward(ctx: Any, drives: Tensor, weight: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        steps = list(_steps(drives, weight, *before))
        kept = [torch.stack(parts) for parts in zip(*(step[:-1] for step in steps), strict=True)]
        # Products on the way back are as precise as those forward, whatever mixed precision makes of them.
        ctx.precision = functional.linear(before[0][:0], weight).dtype
        ctx.save_for_backward(weight, *before[:3], *kept)
        ctx.set_materialize_grads(False)
        last = steps[-1]
        ctx.mark_non_differentiable(last.scale)
        return kept[0], last.hidden, last.cell, last.norm, last.scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_outputs: Tensor | None, *to_after: Tensor | None) -> tuple[Tensor, ...]:
        weight, hidden, cell, norm, *kept = ctx.saved_tensors
        outputs, cells, norms, candidate, release, admitting, forgetting, slope = kept
        to_hidden, to_cell, to_norm = (torch.zeros_like(hidden) if each is None else each for each in to_after[:3])
        # What is known of all steps before the way back begins.
        from_cell, from_norm = release / norms, -outputs / norms
        release_by_hidden = outputs * (1 - release)
        candidate_by_cell = admitting * (1 - candidate.square())
        admit_by_cell = admitting * candidate
        kept_by_cell, kept_by_norm = forgetting * _earlier(cells, cell), forgetting * _earlier(norms, norm)
        rounded = weight.to(ctx.precision)
        to_drives = slope.new_empty(*slope.shape[:2], weight.shape[0])
        for step in reversed(range(len(outputs))):
            if to_outputs is not None:
                to_hidden = to_hidden + to_outputs[step]
            to_cell = torch.addcmul(to_cell, to_hidden, from_cell[step])
            to_norm = torch.addcmul(to_norm, to_hidden, from_norm[step])
            to_scale = torch.addcmul(to_cell * kept_by_cell[step], to_norm, kept_by_norm[step])
            to_candidate, to_release, to_admit, to_forget = to_drives[step].chunk(4, -1)
            torch.mul(to_cell, candidate_by_cell[step], out=to_candidate)
            torch.mul(to_hidden, release_by_hidden[step], out=to_release)
            torch.addcmul(to_cell * admit_by_cell[step], to_norm, admitting[step], out=to_admit)
            torch.mul(to_scale, slope[step], out=to_forget)
            to_cell, to_norm = to_cell * forgetting[step], to_norm * forgetting[step]
            to_hidden = (to_drives[step].to(ctx.precision) @ rounded).to(hidden.dtype)
        gates, states = to_drives.flatten(0, 1), _earlier(outputs, hidden).flatten(0, 1)
        to_weight = (gates.to(ctx.precision).T @ states.to(ctx.precision)).to(weight.dtype)
        return to_drives, to_weight, to_hidden, to_cell, to_norm, to_scale


def _earlier(made: Tensor, before: Tensor) -> Tensor:
    """Return what stood before each step, (time, batch, hidden_size)."""
    return torch.cat([before[None], made[:-1]])
