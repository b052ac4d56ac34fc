"""Truncated BPTT against full BPTT by autograd, and against a reference written out step by step."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from workloads.bptt.fixed import FixedTruncation
from workloads.bptt.state import map_state
from workloads.bptt.windows import BoundaryStates, Window, backpropagate
from workloads.hyperparameters import Hyperparameters
from workloads.models.cells import BUILTIN
from workloads.models.recurrent import RecurrentNetwork

TIME, BATCH, FEATURES, OUTPUTS = 24, 3, 4, 2


def squared_error(outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    return (outputs - targets).square().sum(), targets.numel()


def make_network(cell_type: str, **options: object) -> RecurrentNetwork:
    torch.manual_seed(0)
    h = Hyperparameters(cell_type=cell_type, hidden_size=5, num_layers=2, **options)  # type: ignore[arg-type]
    return RecurrentNetwork(h, input_size=FEATURES, output_size=OUTPUTS).double()


def make_sequence() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(TIME, BATCH, FEATURES).double(), torch.randn(TIME, BATCH, OUTPUTS).double()


def gradients(network: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]


def assert_equal(ours: list[Tensor], reference: list[Tensor]) -> None:
    assert len(ours) == len(reference) > 0
    for mine, theirs in zip(ours, reference, strict=True):
        assert float((mine - theirs).norm()) <= 1e-6 * float(theirs.norm())


def walk(network: RecurrentNetwork, *, truncation_length: int, k1: int) -> list[list[Tensor]]:
    """Return the gradient of every update of one pass over the sequence; weights stay as they are."""
    inputs, targets = make_sequence()
    truncation = FixedTruncation(0, truncation_length=truncation_length, k1=k1)
    boundaries = BoundaryStates(truncation.longest_context)
    updates = []
    while (new := boundaries.position) < TIME:
        reach = truncation.reach(TIME - new)
        first, begin, state = boundaries.begin(reach.back - reach.new)
        stop = new + reach.new
        window = Window(inputs[first:stop], targets[new:stop], skip=begin - first, context=new - begin)
        network.zero_grad()
        step = backpropagate(network, squared_error, window, state)
        updates.append(gradients(network))
        boundaries.advance(stop, step.state)
    return updates


def reference(network: RecurrentNetwork, *, truncation_length: int, k1: int) -> list[list[Tensor]]:
    """Do the same one step at a time: cut the state's graph exactly where the gradient may travel no further."""
    inputs, targets = make_sequence()
    updates = []
    for new in range(0, TIME, k1):
        stop, cut = min(new + k1, TIME), max(new - (truncation_length - k1), 0)
        state, losses = None, []
        for t in range(stop):
            if t == cut and state is not None:
                state = map_state(Tensor.detach, state)
            outputs, state = network(inputs[t : t + 1], state)
            if t >= new:
                losses.append((outputs - targets[t : t + 1]).square())
        network.zero_grad()
        torch.cat(losses).mean().backward()
        updates.append(gradients(network))
    return updates


@pytest.mark.parametrize("cell_type", BUILTIN)
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("truncation_length", [TIME, TIME + 7])
def test_a_window_as_long_as_the_sequence_gives_full_bptt(
    cell_type: str, layer_norm: bool, truncation_length: int
) -> None:
    network = make_network(cell_type, layer_norm=layer_norm)
    [ours] = walk(network, truncation_length=truncation_length, k1=truncation_length)
    inputs, targets = make_sequence()
    network.zero_grad()
    (network(inputs)[0] - targets).square().mean().backward()
    assert_equal(ours, gradients(network))


@pytest.mark.parametrize("cell_type", BUILTIN)
@pytest.mark.parametrize(("truncation_length", "k1"), [(6, 6), (5, 5), (8, 2), (7, 3), (TIME, 4), (9, 1)])
def test_truncated_gradients_equal_the_reference_step_by_step(cell_type: str, truncation_length: int, k1: int) -> None:
    network = make_network(cell_type)
    ours = walk(network, truncation_length=truncation_length, k1=k1)
    theirs = reference(network, truncation_length=truncation_length, k1=k1)
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert_equal(mine, other)


def test_the_reference_tells_truncation_lengths_apart() -> None:
    """Were the two sides alike whatever the length, the tests above would show nothing."""
    network = make_network("lstm")
    short = walk(network, truncation_length=4, k1=4)[-1]
    long = walk(network, truncation_length=12, k1=4)[-1]
    assert max(float((a - b).abs().max()) for a, b in zip(short, long, strict=True)) > 1e-6


@given(length=st.integers(1, 60), truncation_length=st.integers(1, 40), data=st.data())
@settings(max_examples=200, deadline=None)
def test_windows_cover_every_step_once_and_reach_back_no_further_than_allowed(
    length: int, truncation_length: int, data: st.DataObject
) -> None:
    k1 = data.draw(st.integers(1, truncation_length))
    truncation = FixedTruncation(0, truncation_length=truncation_length, k1=k1)
    boundaries = BoundaryStates(truncation.longest_context)
    covered: list[int] = []
    while (new := boundaries.position) < length:
        reach = truncation.reach(length - new)
        first, begin, _ = boundaries.begin(reach.back - reach.new)
        stop = new + reach.new
        assert 0 <= first <= begin <= new < stop <= length
        assert stop - begin <= truncation_length
        assert begin == 0 or new - begin == truncation_length - k1
        covered += range(new, stop)
        boundaries.advance(stop, None)
        assert len(boundaries.boundaries) <= -(-truncation_length // k1) + 1
    assert covered == list(range(length))


def test_a_window_without_terms_leaves_gradients_alone_and_carries_the_state() -> None:
    network = make_network("gru")
    inputs, targets = make_sequence()

    def no_terms(outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        return outputs.sum() * 0, 0

    step = backpropagate(network, no_terms, Window(inputs, targets), None)
    assert step.terms == 0
    assert all(parameter.grad is None for parameter in network.parameters())
    carried = list(itertools.chain(step.state or ()))
    assert all(isinstance(tensor, Tensor) and not tensor.requires_grad for tensor in carried)
