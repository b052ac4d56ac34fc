"""Sequences run in chunks: full gradients whatever is kept, multiplied or cut between chunks, and dropout alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from workloads.bptt.chunks import Chunks, run_chunks
from workloads.bptt.state import State, map_state
from workloads.bptt.windows import Window, backpropagate
from workloads.hyperparameters import Hyperparameters
from workloads.models.recurrent import RecurrentNetwork

LENGTH, BATCH, FEATURES, OUTPUTS = 37, 3, 4, 2


def make_network(**options: Any) -> RecurrentNetwork:
    torch.manual_seed(0)
    h = Hyperparameters(hidden_size=5, num_layers=2, **options)
    return RecurrentNetwork(h, input_size=FEATURES, output_size=OUTPUTS).double()


def make_sequence() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(LENGTH, BATCH, FEATURES).double(), torch.randn(LENGTH, BATCH, OUTPUTS).double()


def squared_error(outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    return (outputs - targets).square().sum(), targets.numel()


def gradient_of(network: nn.Module) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None])


def update(network: nn.Module, chunks: Chunks | None) -> tuple[Tensor, float]:
    """Return the gradient and the loss of one update over the whole sequence."""
    network.zero_grad()
    inputs, targets = make_sequence()
    step = backpropagate(network, squared_error, Window(inputs, targets, chunks=chunks), None)
    return gradient_of(network), float(step.loss)


@settings(deadline=None, max_examples=25)
@given(
    cell_type=st.sampled_from(["lstm", "gru", "rnn"]),
    size=st.integers(1, LENGTH + 2),
    snapshots=st.one_of(st.none(), st.integers(0, 6)),
    recompute=st.booleans(),
)
def test_the_gradient_is_the_full_one_however_it_is_cut_up_and_whatever_is_kept(
    cell_type: str, size: int, snapshots: int | None, recompute: bool
) -> None:
    network = make_network(cell_type=cell_type)
    whole, loss = update(network, None)
    chunked, same_loss = update(network, Chunks.of(LENGTH, size, snapshots=snapshots, recompute=recompute))
    assert float((chunked - whole).norm()) <= 1e-6 * float(whole.norm())
    assert same_loss == pytest.approx(loss)


@settings(deadline=None, max_examples=25)
@given(
    factors=st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=3, max_size=3),
    recompute=st.booleans(),
    snapshots=st.one_of(st.none(), st.integers(0, 2)),
)
def test_between_chunks_the_gradient_is_multiplied(
    factors: list[float], recompute: bool, snapshots: int | None
) -> None:
    network = make_network()
    inputs, targets = make_sequence()
    bounds = [0, 10, 20, 30, LENGTH]
    losses, state = [], None
    for start, stop, factor in zip(bounds, bounds[1:], [*factors, 1.0], strict=False):
        outputs, state = network(inputs[start:stop], state)
        losses.append(squared_error(outputs, targets[start:stop])[0])
        # The value is the state's, the gradient that of the first term alone.
        state = map_state(lambda tensor, by=factor: tensor * by + tensor.detach() * (1 - by), state)
    network.zero_grad()
    (sum(losses) / targets.numel()).backward()  # type: ignore[union-attr]
    expected = gradient_of(network)
    found, _ = update(network, Chunks(bounds, factors, recompute=recompute, snapshots=snapshots))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("snapshots", [None, 1])
def test_dropout_is_drawn_alike_when_a_chunk_is_run_again(snapshots: int | None) -> None:
    """Between two runs of a chunk that dropped out differently, the gradient would not be that of the loss."""
    network = make_network(dropout=0.5).train()
    chunks = Chunks.of(LENGTH, 8, snapshots=snapshots)
    torch.manual_seed(3)
    gradient, _ = update(network, chunks)
    changed = [torch.randn_like(parameter) for parameter in network.parameters()]
    slope = float(torch.cat([change.flatten() for change in changed]) @ gradient)

    def loss_at(distance: float) -> float:
        with torch.no_grad():
            for parameter, change in zip(network.parameters(), changed, strict=True):
                parameter.add_(change, alpha=distance)
        torch.manual_seed(3)
        return update(network, chunks)[1]

    tiny = 1e-6
    ahead, behind = loss_at(tiny), loss_at(-2 * tiny)
    assert (ahead - behind) / (2 * tiny) == pytest.approx(slope, rel=1e-4)


def test_other_draws_are_the_same_whether_or_not_chunks_were_run_again() -> None:
    network = make_network()
    following = []
    for size in (5, 12):
        torch.manual_seed(0)
        inputs, targets = make_sequence()
        torch.manual_seed(7)
        backpropagate(network, squared_error, Window(inputs, targets, chunks=Chunks.of(LENGTH, size)), None)
        following.append(torch.rand(3))
    torch.testing.assert_close(*following)


def test_a_gradient_reaches_inputs_and_the_initial_state_through_all_chunks() -> None:
    torch.manual_seed(0)
    cell = nn.GRU(FEATURES, 5).double()
    inputs, _ = make_sequence()
    found = []
    for chunks in (None, Chunks.of(LENGTH, 6, snapshots=2)):
        leaf, start = inputs.clone().requires_grad_(), torch.zeros(1, BATCH, 5).double().requires_grad_()
        outputs, state = run_chunks(cell, leaf, start, chunks)
        outputs.square().sum().backward()
        found.append((outputs.detach(), state, leaf.grad, start.grad))
    for whole, chunked in zip(*found, strict=True):
        torch.testing.assert_close(whole, chunked)


@pytest.mark.parametrize(
    ("bounds", "passes", "context"), [([0, 4, 8], [], 0), ([0, 4, 8], [1.0], 2), ([0, 8], [1.0], 0)]
)
def test_chunks_that_do_not_fit_together_are_refused(bounds: list[int], passes: list[float], context: int) -> None:
    with pytest.raises(ValueError, match="passes"):
        Chunks(bounds, passes, context=context)


def test_a_state_that_counts_steps_is_carried_through_chunks() -> None:
    inputs = torch.ones(9, 2, 3)
    network = Counting()
    outputs, state = run_chunks(network, inputs, None, Chunks.of(9, 2))
    outputs.sum().backward()
    assert isinstance(state, tuple)
    assert int(state[1]) == 9
    assert network.weight.grad is not None


class Counting(nn.Module):
    """Keeps a whole number in its state, which no gradient reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        total, steps = (torch.zeros(inputs.shape[1:]), torch.tensor(0)) if state is None else state
        outputs = total + self.weight * inputs.cumsum(0)  # type: ignore[operator]
        return outputs, (outputs[-1], steps + len(inputs))  # type: ignore[operator]
