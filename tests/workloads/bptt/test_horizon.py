"""The gradient's horizon, against networks whose gradients are known, and against gradients really truncated."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from workloads import horizon_window
from workloads.bptt.horizon import (
    Horizon,
    fitted_decay,
    horizon_metrics,
    together,
)
from workloads.bptt.horizon_measurement import measure_horizon
from workloads.bptt.state import State, map_state
from workloads.horizon_window import KEPT_BYTES, distances_within
from workloads.hyperparameters import Hyperparameters
from workloads.models.recurrent import RecurrentNetwork

LENGTH, BATCH = 40, 4


class Decay(nn.Module):
    """h(t) = factor * h(t-1) + x(t), the output is h: a gradient k steps back is factor ** k times what it was."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        hidden = torch.zeros_like(inputs[:1]) if state is None else state
        outputs = []
        for x in inputs.split(1):
            hidden = self.factor * hidden + x
            outputs.append(hidden)
        return torch.cat(outputs), hidden


def summed(outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    return outputs.sum(), targets.numel()


def measure(factor: float, length: int) -> Horizon:
    inputs = torch.ones(length, 1, 1, dtype=torch.float64)
    found = measure_horizon(Decay(factor), summed, inputs=inputs, targets=inputs, state=None)
    assert found is not None
    return found


@given(st.integers(1, 2000))
def test_distances_rise_to_the_length_in_small_ratios(length: int) -> None:
    distances = distances_within(length)
    assert distances[0] == 1
    assert distances[-1] == length
    for near, far in pairwise(distances):
        assert near < far <= max(near + 1, 1.1 * near + 1)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.2])
@pytest.mark.parametrize("length", [1, 2, 13, 100])
def test_the_gradient_at_each_distance_is_what_the_recurrence_makes_of_it(factor: float, length: int) -> None:
    found = measure(factor, length)
    assert found.norms == pytest.approx([factor**distance for distance in found.distances])
    assert found.layers == (pytest.approx(found.norms),)


@pytest.mark.parametrize("most", [KEPT_BYTES, 0], ids=["gradients kept", "made a second time"])
def test_what_a_truncation_loses_is_the_gradient_that_it_really_lacks(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(horizon_window, "KEPT_BYTES", most)
    torch.manual_seed(0)
    network = RecurrentNetwork(Hyperparameters(hidden_size=6, num_layers=2), input_size=3, output_size=2).double()
    inputs, targets = torch.randn(LENGTH, BATCH, 3).double(), torch.randn(LENGTH, BATCH, 2).double()

    def loss(outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        return (outputs - targets).square().sum(), targets.numel()

    def gradient(truncation_length: int) -> Tensor:
        state: State = None
        if truncation_length < LENGTH:
            with torch.no_grad():
                _, state = network(inputs[:-truncation_length], None)
        else:
            _, state = network(inputs[:1], None)
            state = map_state(torch.zeros_like, state)
        outputs, _ = network(inputs[-truncation_length:], state)
        total, terms = loss(outputs[-1:], targets[-1:])
        # The output layer's gradient travels nowhere, and is left out.
        through_time = [each for name, each in network.named_parameters() if not name.startswith("output.")]
        found = torch.autograd.grad(total / terms, through_time)
        return torch.cat([part.flatten() for part in found])

    horizon = measure_horizon(network, loss, inputs=inputs, targets=targets, state=None)
    assert horizon is not None
    full = gradient(LENGTH)
    assert math.sqrt(horizon.whole) == pytest.approx(float(full.norm()))
    for distance in horizon.distances:
        expected = float((full - gradient(distance)).norm() / full.norm())
        assert horizon.inside(distance) == pytest.approx(expected, abs=1e-9)
    assert horizon.inside(1) > 0.05
    assert all(parameter.grad is None for parameter in network.parameters())


@settings(max_examples=50, deadline=None)
@given(decay=st.floats(0.3, 0.95))
def test_a_geometric_decay_is_recovered_and_goes_on_behind_the_window(decay: float) -> None:
    distances = distances_within(60)
    norms = [decay**distance for distance in distances]
    assert fitted_decay(distances, norms) == pytest.approx(decay, rel=1e-6)
    lost = [(decay**distance - decay**60) / (1 - decay**60) for distance in distances]
    horizon = Horizon(tuple(distances), tuple(norms), (tuple(norms),), tuple(part**2 for part in lost), 1.0)
    advised = horizon.shortest(0.05)
    assert advised is not None
    assert horizon.bias(advised) <= 0.05 + 1e-9
    assert advised == 1 or horizon.bias(advised - 1) > 0.05
    assert horizon.edge is None
    exact = math.log(0.05) / math.log(decay)
    assert advised == pytest.approx(exact, rel=0.3, abs=2)


def test_a_gradient_that_fades_has_a_reach_and_one_that_grows_explodes() -> None:
    fades, holds, grows = (measure(factor, 64) for factor in (0.5, 1.0, 1.5))
    assert fades.reach == 8  # 0.5 ** 7 < 1 % of 0.5
    assert fades.decay == pytest.approx(0.5)
    assert not fades.explodes
    assert holds.reach is None
    assert holds.bias(32) > 0.2
    assert grows.explodes
    assert grows.bias(32) > 0.4
    assert "horizon_length" not in horizon_metrics(grows, 16)
    assert horizon_metrics(fades, 16)["horizon_reach"] == 8


def test_metrics_hold_the_curves_and_every_layer() -> None:
    network = RecurrentNetwork(Hyperparameters(hidden_size=6, num_layers=3), input_size=1, output_size=1)
    inputs = torch.randn(20, BATCH, 1)
    horizon = measure_horizon(network, summed, inputs=inputs, targets=inputs, state=None)
    metrics = horizon_metrics(horizon, 8)
    assert {f"horizon_norm/distance:{distance}" for distance in (1, 2, 4, 8, 16)} <= set(metrics)
    assert {f"horizon_bias/length:{distance}" for distance in (1, 2, 4, 8, 16)} <= set(metrics)
    assert {f"horizon_decay/layer:{number}" for number in (1, 2, 3)} <= set(metrics)
    assert metrics["horizon_bias"] == metrics["horizon_bias/length:8"]
    assert all(math.isfinite(value) for value in metrics.values())


def test_nothing_is_said_of_a_window_whose_last_step_has_no_loss_or_of_a_network_without_state() -> None:
    inputs = torch.ones(4, 1, 1, dtype=torch.float64)
    nothing = measure_horizon(
        Decay(0.5), lambda outputs, targets: (outputs.sum() * 0, 0), inputs=inputs, targets=inputs, state=None
    )
    assert nothing is None
    assert horizon_metrics(nothing, 4) == {}
    assert measure_horizon(Stateless(), summed, inputs=inputs, targets=inputs, state=None) is None


def test_gradients_that_are_no_numbers_have_no_horizon() -> None:
    inputs = torch.full((8, 2, 1), math.inf, dtype=torch.float64)
    assert measure_horizon(Decay(0.5), summed, inputs=inputs, targets=inputs, state=None) is None


def test_a_network_that_learns_nothing_through_time_has_no_horizon() -> None:
    network = Decay(0.5)
    network.factor.requires_grad_(False)
    inputs = torch.ones(8, 2, 1, dtype=torch.float64)
    assert measure_horizon(network, summed, inputs=inputs.requires_grad_(), targets=inputs, state=None) is None


class Stateless(nn.Module):
    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return inputs, ()


def test_horizons_together_weigh_by_their_gradients() -> None:
    low, high = measure(0.5, 10), measure(0.9, 10)
    both = together([low, high])
    for summed_up, one, other in zip(both.norms, low.norms, high.norms, strict=True):
        assert summed_up == pytest.approx(one + other)
    assert min(low.inside(4), high.inside(4)) < both.inside(4) < max(low.inside(4), high.inside(4))


@pytest.mark.parametrize("lag", [5, 20, 60])
def test_a_gradient_that_falls_at_one_blow_has_its_edge_there(lag: int) -> None:
    distances = tuple(distances_within(128))
    norms = tuple(0.99**distance * (1.0 if distance < lag else 0.5) for distance in distances)
    horizon = Horizon(distances, norms, (norms,), tuple(norm**2 for norm in norms), 1.0)
    assert horizon.edge is not None
    assert horizon.advised == horizon.edge
    assert lag <= horizon.edge <= 1.1 * lag
