"""The truncation schemes: what each draws and cuts, that it repeats, and what its gradient is on average."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from workloads.bptt.adaptive import REMEMBERED, AdaptiveTruncation
from workloads.bptt.chunks import run_chunks
from workloads.bptt.fixed import FixedTruncation
from workloads.bptt.full import FullTruncation, StepBytes, plan_chunks
from workloads.bptt.graph_bytes import step_bytes
from workloads.bptt.horizon import Horizon
from workloads.bptt.random_length import RandomTruncation
from workloads.bptt.schemes import make_truncation
from workloads.bptt.state import State
from workloads.bptt.truncation import Truncation
from workloads.bptt.unbiased import UnbiasedTruncation
from workloads.bptt.windows import BoundaryStates, Window, backpropagate
from workloads.horizon_window import distances_within
from workloads.hyperparameters import TRUNCATIONS, Hyperparameters
from workloads.models.recurrent import RecurrentNetwork

LENGTH, BATCH = 48, 2


def squared_error(outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    return (outputs - targets).square().sum(), targets.numel()


def remembering() -> tuple[RecurrentNetwork, Tensor, Tensor]:
    """Return a network whose gradients travel far, so that what truncation does to them shows."""
    torch.manual_seed(0)
    network = RecurrentNetwork(Hyperparameters(cell_type="rnn", hidden_size=4), input_size=2, output_size=1).double()
    torch.nn.init.orthogonal_(network.layers[0].weight_hh_l0)  # type: ignore[arg-type]
    return network, 0.3 * torch.randn(LENGTH, BATCH, 2).double(), torch.randn(LENGTH, BATCH, 1).double()


def pass_over(
    truncation: Truncation, network: RecurrentNetwork, inputs: Tensor, targets: Tensor, number: int
) -> Tensor:
    """Return the gradient of the mean loss over a stream as the windows of one pass add it up."""
    boundaries = BoundaryStates(truncation.longest_context)
    network.zero_grad()
    while (new := boundaries.position) < len(inputs):
        truncation.begin(number, new)
        reach = truncation.reach(len(inputs) - new)
        stop = new + reach.new
        first, begin, state = boundaries.begin(reach.back - reach.new)
        assert first == begin
        window = Window(
            inputs[begin:stop],
            targets[new:stop],
            context=new - begin,
            chunks=reach.chunks,
            divisor=targets.numel(),
        )
        boundaries.advance(stop, backpropagate(network, squared_error, window, state).state)
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])  # type: ignore[union-attr]


def mean_and_error(truncation: Truncation, draws: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean gradient over draws, its standard error, and the gradient of full backpropagation."""
    network, inputs, targets = remembering()
    passes = torch.stack([pass_over(truncation, network, inputs, targets, number) for number in range(draws)])
    network.zero_grad()
    backpropagate(network, squared_error, Window(inputs, targets), None)
    full = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])  # type: ignore[union-attr]
    # Of the output layer's bias every draw is the same.
    return passes.mean(0), (passes.std(0, correction=0) / math.sqrt(draws)).clamp(min=1e-9), full


def test_the_mean_of_unbiased_gradients_is_the_full_one_where_that_of_fixed_windows_is_not() -> None:
    mean, error, full = mean_and_error(UnbiasedTruncation(0, truncation_length=8), draws=200)
    # Under the null hypothesis the squares of these add up to about one for each parameter.
    assert float(((mean - full) / error).square().mean()) < 2.0
    off_by = float((mean - full).norm() / full.norm())
    fixed, _, _ = mean_and_error(FixedTruncation(0, truncation_length=8), draws=1)
    bias = float((fixed - full).norm() / full.norm())
    assert bias > 0.3
    assert off_by < bias / 3


def test_unbiased_gradients_of_whole_sequences_have_the_full_mean_too() -> None:
    network, inputs, targets = remembering()
    truncation = UnbiasedTruncation(0, truncation_length=8)
    cell = network.layers[0]

    def gradient(number: int | None) -> Tensor:
        network.zero_grad()
        chunks = None
        if number is not None:
            truncation.begin(0, number)
            chunks = truncation.chunks(LENGTH)
        outputs, _ = run_chunks(cell, inputs, None, chunks)
        squared_error(network.output(outputs), targets)[0].backward()
        return torch.cat([parameter.grad.flatten() for parameter in cell.parameters()])  # type: ignore[union-attr]

    full = gradient(None)
    drawn = torch.stack([gradient(number) for number in range(100)])
    error = drawn.std(0) / math.sqrt(len(drawn))
    assert float(((drawn.mean(0) - full) / error).square().mean()) < 2.0


@pytest.mark.parametrize("length", [1, 2, 8, 50])
def test_unbiased_pieces_are_as_long_as_asked_on_average(length: int) -> None:
    truncation = UnbiasedTruncation(0, truncation_length=length)
    drawn = []
    for number in range(4000):
        truncation.begin(number)
        drawn.append(truncation.reach(10**9).new)
    assert np.mean(drawn) == pytest.approx(length, rel=0.1)


@settings(max_examples=50, deadline=None)
@given(length=st.integers(1, 300), seed=st.integers(0, 100))
def test_random_windows_are_near_the_length_or_its_half_and_scale_the_learning_rate(length: int, seed: int) -> None:
    truncation = RandomTruncation(seed, truncation_length=length)
    drawn = []
    for number in range(200):
        truncation.begin(number)
        reach = truncation.reach(10**9)
        assert 1 <= reach.new == reach.back <= truncation.longest
        assert reach.learning_rate_factor == pytest.approx(reach.new / length)
        drawn.append(reach.new)
    assert np.mean(drawn) == pytest.approx(0.975 * length, rel=0.1, abs=0.6)
    if length >= 50:
        assert len(set(drawn)) > 5
    truncation.begin(3)
    assert truncation.reach(1).new == 1


@pytest.mark.parametrize("name", TRUNCATIONS)
def test_what_a_scheme_draws_depends_on_seed_and_place_alone(name: str) -> None:
    def draw(seed: int) -> list[object]:
        truncation = make_truncation(Hyperparameters(truncation=name, truncation_length=20, seed=seed))
        if isinstance(truncation, FullTruncation):
            truncation.step_bytes = StepBytes(10.0, 1.0)
        found: list[object] = []
        for epoch, place in ((0, 0), (0, 17), (1, 0)):
            truncation.begin(epoch, place)
            found += [truncation.reach(1000), truncation.chunks(200)]
        return found

    assert draw(1) == draw(1)
    if name in ("random", "unbiased"):
        assert draw(1) != draw(2)


def horizon_of(lost: Callable[[int], float]) -> Horizon:
    distances = tuple(distances_within(100))
    norms = tuple(0.5**distance for distance in distances)
    return Horizon(distances, norms, (norms,), tuple(lost(distance) ** 2 for distance in distances), 1.0)


def test_adaptive_begins_with_the_longest_and_then_follows_the_last_horizons_together() -> None:
    truncation = AdaptiveTruncation(0, longest=64, bias=0.1)
    short, long = horizon_of(lambda k: 0.8**k), horizon_of(lambda k: 1.0 if k < 30 else 0.0)
    # The losses of a window lose 0.8, 0.8 ** 2, ... of their gradients.
    enough = next(k for k in range(1, 64) if 4 * (1 - 0.8**k) <= 0.1 * k)
    for _ in range(REMEMBERED):
        assert truncation.reach(1000).new == 64
        truncation.look(short)
    assert truncation.reach(1000).new == enough == 40
    truncation.look(long)
    assert truncation.reach(1000).new == 64
    for _ in range(REMEMBERED):
        truncation.look(short)
    assert truncation.facts() == {"truncation_length": enough}


@pytest.mark.parametrize("k1", [1, 4])
def test_adaptive_counts_the_losses_that_windows_with_a_past_have(k1: int) -> None:
    truncation = AdaptiveTruncation(0, longest=64, bias=0.1, k1=k1)
    for _ in range(REMEMBERED):
        truncation.look(horizon_of(lambda k: 0.8**k))
    length = truncation.truncation_length
    mean = [sum(0.8**k for k in range(end - k1 + 1, end + 1)) / k1 for end in (length - 1, length)]
    assert mean[0] > 0.1 >= mean[1]


def test_adaptive_never_exceeds_the_longest_and_keeps_it_where_nothing_decays() -> None:
    truncation = AdaptiveTruncation(0, longest=50, bias=0.1, k1=4)
    distances = tuple(distances_within(100))
    flat = (1.0,) * len(distances)
    truncation.look(Horizon(distances, flat, (flat,), flat, 1.0))
    assert truncation.truncation_length == 50
    assert truncation.reach(1000).new == 4
    assert truncation.longest_context == 46


def test_adaptive_goes_on_as_it_was() -> None:
    first, second = (AdaptiveTruncation(0, longest=64, bias=0.1) for _ in range(2))
    first.look(horizon_of(lambda k: 0.9**k))
    second.go_to(first.position())
    for truncation in (first, second):
        truncation.look(horizon_of(lambda k: 0.7**k))
    assert first.position() == second.position()


@settings(max_examples=200, deadline=None)
@given(
    length=st.integers(1, 5000),
    graph=st.floats(1, 1e6),
    state=st.floats(0, 1e6),
    budget=st.floats(1, 1e9),
)
@example(length=12, graph=1.0, state=5.964886107431977e-18, budget=1.0)
def test_what_is_planned_stays_within_its_budget(length: int, graph: float, state: float, budget: float) -> None:
    if budget < min(graph + state, length * graph):
        with pytest.raises(ValueError, match="memory_budget_mb"):
            plan_chunks(length, StepBytes(graph, state), budget)
        return
    chunks = plan_chunks(length, StepBytes(graph, state), budget)
    if chunks is None:
        assert length * graph <= budget
        return
    count = len(chunks.bounds) - 1
    kept = count if chunks.snapshots is None else min(chunks.snapshots + 1, count)
    longest = max(np.diff(chunks.bounds))
    assert longest * graph + kept * state <= budget * (1 + 1e-9)


def test_without_a_budget_the_memory_grows_like_the_square_root() -> None:
    def needed(length: int) -> float:
        chunks = plan_chunks(length, StepBytes(8.0, 2.0), None)
        assert chunks is not None
        return max(np.diff(chunks.bounds)) * 8.0 + (len(chunks.bounds) - 1) * 2.0

    assert needed(10_000) == pytest.approx(10 * needed(100), rel=0.3)


def test_the_bytes_of_a_step_are_what_autograd_keeps_for_it() -> None:
    network = RecurrentNetwork(Hyperparameters(cell_type="rnn", hidden_size=16), input_size=3, output_size=2)

    def run(inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return network(inputs, state)  # type: ignore[no-any-return]

    few, many = (step_bytes(network, run, torch.randn(100, batch, 3), batch_size=batch) for batch in (4, 8))
    assert few.state == 4 * 16 * 4
    assert many.graph == pytest.approx(2 * few.graph, rel=0.2)
    assert few.graph >= 4 * 16 * 4
    of_one = step_bytes(network, run, torch.randn(100, 1, 3), batch_size=4)
    assert of_one.graph == pytest.approx(few.graph, rel=0.1)
    assert of_one.state == few.state
