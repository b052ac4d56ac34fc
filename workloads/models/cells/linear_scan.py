"""Linear recurrences h(t) = a(t) h(t-1) + b(t), element by element, for all steps at once.

Two steps in a row, (a, b) and then (c, d), are one step (c a, c b + d), and that is associative: pairs of steps are
joined, the half as many steps are run, and the steps between are filled in, which takes about 2 log(time) products in a
row instead of `time` (Blelloch, 1990, "Prefix sums and their applications", section 1.4). The way back is a recurrence
of the same kind in the other direction (Martin and Cundy, 2018, "Parallelizing linear recurrent neural nets over
sequence length"). Nothing is divided and no logarithm is taken: where |a| <= 1 no product of decays
overflows, and one that underflows belongs to a step that has been forgotten in one-by-one order too.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


def linear_scan(decays: Tensor, drives: Tensor, before: Tensor) -> Tensor:
    """Return the states at all steps, (time, batch, units), real or complex; gradients reach all three arguments.

    Decays are (time or 1, batch or 1, units), drives (time, batch, units), the state before them (batch, units).
    """
    return cast("Tensor", _LinearScan.apply(decays, drives, before))  # type: ignore[no-untyped-call]


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, decays: Tensor, drives: Tensor, before: Tensor) -> Tensor:
        states = run(decays, drives, before)
        ctx.save_for_backward(decays, before, states)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        decays, before, states = ctx.saved_tensors
        to_states = run_back(decays, gradients[0])
        to_decays = None
        if ctx.needs_input_grad[0]:
            to_decays = to_states * torch.cat([before[None], states[:-1]]).conj()
            to_decays = to_decays.sum_to_size(decays.shape)
        return to_decays, to_states, decays[0].conj() * to_states[0]


def run(decays: Tensor, drives: Tensor, before: Tensor) -> Tensor:
    """Run the recurrence without a graph; shapes are those of `linear_scan`."""
    decays = decays.expand(len(drives), -1, -1)
    if len(drives) == 1:  # as a stream has it, and an exported file: nothing is written in place
        return torch.addcmul(drives, decays, before)
    if not in_pairs(drives):
        return run_one_by_one(decays, drives, before)
    first = torch.addcmul(drives[:1], decays[:1], before)
    return run_in_pairs(decays, torch.cat([first, drives[1:]]))


def run_back(decays: Tensor, gradients: Tensor) -> Tensor:
    """Return g(t) = gradients(t) + conj(a(t+1)) g(t+1): what reaches the state of each step, (time, batch, units)."""
    following = decays.expand(len(gradients), -1, -1)[1:].conj()
    if in_pairs(gradients):
        # The last step has none behind it; any decay will do.
        shifted = torch.cat([following, torch.zeros_like(decays[:1])]).flip(0)
        return run_in_pairs(shifted, gradients.flip(0)).flip(0)
    reaching = gradients.clone(memory_format=torch.contiguous_format)
    rows = reaching.unbind()
    for step in range(len(rows) - 2, -1, -1):
        rows[step].addcmul_(following[step], rows[step + 1])
    return reaching


def in_pairs(tensor: Tensor) -> bool:
    """Tell whether to run in pairs: on a GPU, where calls cost more than numbers. On a CPU least work is fastest."""
    return tensor.is_cuda


def run_one_by_one(decays: Tensor, drives: Tensor, before: Tensor) -> Tensor:
    """Run step by step: one fused product and sum for each."""
    states = torch.empty_like(drives, memory_format=torch.contiguous_format)
    for decay, drive, state in zip(decays.unbind(), drives.unbind(), states.unbind(), strict=True):
        torch.addcmul(drive, decay, before, out=state)
        before = state
    return states


def run_in_pairs(decays: Tensor, drives: Tensor) -> Tensor:
    """Run from a state of zeros in about log2(time) rounds; decays have as many steps as drives."""
    if len(drives) == 1:
        return drives
    first, second = slice(0, len(drives) - 1, 2), slice(1, None, 2)
    joined = torch.addcmul(drives[second], decays[second], drives[first])
    states = torch.empty_like(drives, memory_format=torch.contiguous_format)
    states[0] = drives[0]
    states[1::2] = run_in_pairs(decays[second] * decays[first], joined)
    torch.addcmul(drives[2::2], decays[2::2], states[1:-1:2], out=states[2::2])
    return states
