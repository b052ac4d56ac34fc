"""Whole sequences with a truncated way back: the same outputs, and exactly the gradients that truncation leaves."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from workloads.bptt.chunks import run_chunks
from workloads.bptt.fixed import FixedTruncation
from workloads.bptt.state import State
from workloads.models.cells import BUILTIN

LENGTH, BATCH, FEATURES, HIDDEN = 13, 3, 4, 5


def run_truncated(
    network: nn.Module, inputs: Tensor, state: State = None, *, truncation_length: int, k1: int | None = None
) -> tuple[Tensor, State]:
    chunks = FixedTruncation(0, truncation_length=truncation_length, k1=k1).chunks(len(inputs))
    return run_chunks(network, inputs, state, chunks)


def reference_gradient(cell: nn.Module, inputs: Tensor, weights: Tensor, k2: int, k1: int) -> dict[str, Tensor]:
    """Add up, chunk by chunk, the gradients of a window run from a detached state: BPTT(h; h') by its definition."""
    cell.zero_grad()
    inputs = inputs.detach().requires_grad_()
    for new in range(0, len(inputs), k1):
        begin, stop = max(new - (k2 - k1), 0), min(new + k1, len(inputs))
        state: Any = None
        if begin:
            with torch.no_grad():
                _, state = cell(inputs[:begin])
        outputs, _ = cell(inputs[begin:stop], state)
        (outputs[new - begin :] * weights[new:stop]).sum().backward()
    assert inputs.grad is not None
    return {"inputs": inputs.grad} | {name: value.grad.clone() for name, value in cell.named_parameters()}


@settings(deadline=None, max_examples=60)
@given(k2=st.integers(1, LENGTH + 3), part=st.floats(0, 1), cell_type=st.sampled_from(sorted(BUILTIN)))
def test_gradients_are_those_of_windows_run_from_detached_states(k2: int, part: float, cell_type: str) -> None:
    torch.manual_seed(0)
    k1 = max(1, round(part * k2))
    cell = BUILTIN[cell_type](FEATURES, HIDDEN).double()
    inputs = torch.randn(LENGTH, BATCH, FEATURES, dtype=torch.float64)
    weights = torch.randn(LENGTH, BATCH, HIDDEN, dtype=torch.float64)
    expected = reference_gradient(cell, inputs, weights, k2, k1)

    cell.zero_grad()
    given_inputs = inputs.clone().requires_grad_()
    outputs, state = run_truncated(cell, given_inputs, truncation_length=k2, k1=k1)
    (outputs * weights).sum().backward()

    torch.testing.assert_close(outputs, cell(inputs)[0])
    torch.testing.assert_close(state, cell(inputs)[1])
    found = {"inputs": given_inputs.grad} | {name: value.grad for name, value in cell.named_parameters()}
    torch.testing.assert_close(found, expected)


def test_a_truncation_length_that_reaches_back_from_the_end_of_the_last_chunk_is_full_backpropagation() -> None:
    torch.manual_seed(0)
    cell = nn.LSTM(FEATURES, HIDDEN).double()
    inputs = torch.randn(LENGTH, BATCH, FEATURES, dtype=torch.float64)
    start = [torch.randn(1, BATCH, HIDDEN, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    (full,) = torch.autograd.grad(cell(inputs, tuple(start))[0].square().sum(), start[:1])
    outputs, _ = run_truncated(cell, inputs, tuple(start), truncation_length=16, k1=4)
    outputs.square().sum().backward()
    torch.testing.assert_close(start[0].grad, full)


def test_the_initial_state_gets_the_gradient_of_the_windows_that_reach_it() -> None:
    torch.manual_seed(0)
    cell = nn.GRU(FEATURES, HIDDEN).double()
    inputs = torch.randn(LENGTH, BATCH, FEATURES, dtype=torch.float64)
    start = torch.randn(1, BATCH, HIDDEN, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(cell(inputs[:4], start)[0].sum(), start)
    outputs, _ = run_truncated(cell, inputs, start, truncation_length=4)
    outputs.sum().backward()
    torch.testing.assert_close(start.grad, expected)


def test_a_second_way_back_is_refused() -> None:
    outputs, _ = run_truncated(nn.GRU(FEATURES, HIDDEN), torch.randn(LENGTH, BATCH, FEATURES), truncation_length=4)
    outputs.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        outputs.sum().backward()


def test_what_is_kept_for_the_way_back_does_not_grow_with_the_sequence() -> None:
    """Count every tensor that autograd saves: with truncation, those of one window at a time."""

    def most_saved(length: int) -> int:
        alive: dict[int, int] = {}
        most = 0

        def save(tensor: Tensor) -> Any:
            nonlocal most
            held = Held(alive, tensor)
            most = max(most, sum(alive.values()))
            return held

        cell = StepByStep()
        inputs = torch.randn(length, BATCH, FEATURES)
        with torch.autograd.graph.saved_tensors_hooks(save, lambda held: held.tensor):
            outputs, _ = run_truncated(cell, inputs, truncation_length=8)
            outputs.sum().backward()
        gc.collect()
        return most

    short, long = most_saved(64), most_saved(512)
    inputs_alone = BATCH * FEATURES * (512 - 64)
    assert long - short <= inputs_alone


class Held:
    """A tensor that autograd saved, and for how long it did."""

    def __init__(self, alive: dict[int, int], tensor: Tensor) -> None:
        self.tensor, self.alive = tensor, alive
        alive[id(self)] = tensor.numel()

    def __del__(self) -> None:
        self.alive.pop(id(self), None)


class StepByStep(nn.Module):
    """An Elman cell whose graph shows every step, as fused kernels' does not."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.RNNCell(FEATURES, HIDDEN)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        hidden = inputs.new_zeros(inputs.shape[1], HIDDEN) if state is None else state
        steps = []
        for step in inputs:
            hidden = self.cell(step, hidden)
            steps.append(hidden)
        return torch.stack(steps), hidden
