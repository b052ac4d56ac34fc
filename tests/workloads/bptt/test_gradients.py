"""Gradient norms and their fall with distance, against networks whose gradients are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from workloads.bptt.gradients import GradientNorms, describe_decay, gradient_by_distance


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


def measure(factor: float, length: int) -> dict[int, float]:
    inputs = torch.randn(length, 1, 1, dtype=torch.float64)
    return gradient_by_distance(Decay(factor), summed, inputs=inputs, targets=inputs, state=None)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.2])
@pytest.mark.parametrize("length", [1, 2, 13, 32])
def test_the_gradient_at_each_distance_is_what_the_recurrence_makes_of_it(factor: float, length: int) -> None:
    norms = measure(factor, length)
    assert list(norms) == sorted({2**power for power in range(6) if 2**power <= length} | {length})
    for distance, norm in norms.items():
        assert norm == pytest.approx(factor**distance)


def test_decay_names_vanishing_and_exploding_gradients() -> None:
    fades, holds, grows = (describe_decay(measure(factor, 64)) for factor in (0.5, 1.0, 1.5))
    assert fades["gradient_decay"] == pytest.approx(0.5)
    assert fades["gradient_at_truncation"] == pytest.approx(0.5**63)
    assert (fades["gradient_vanishing"], fades["gradient_exploding"]) == (1, 0)
    assert (holds["gradient_vanishing"], holds["gradient_exploding"]) == (0, 0)
    assert (grows["gradient_vanishing"], grows["gradient_exploding"]) == (0, 1)


def test_nothing_is_said_of_a_window_whose_last_step_has_no_loss() -> None:
    inputs = torch.ones(4, 1, 1, dtype=torch.float64)
    norms = gradient_by_distance(
        Decay(0.5), lambda outputs, targets: (outputs.sum() * 0, 0), inputs=inputs, targets=inputs, state=None
    )
    assert norms == {}
    assert describe_decay(norms) == {}


def test_measuring_leaves_the_parameters_gradients_alone() -> None:
    network = Decay(0.5)
    inputs = torch.ones(4, 1, 1, dtype=torch.float64)
    gradient_by_distance(network, summed, inputs=inputs, targets=inputs, state=None)
    assert network.factor.grad is None


def test_clipping_limits_the_norm_and_counts_itself() -> None:
    parameter = nn.Parameter(torch.zeros(4))
    norms = GradientNorms(max_grad_norm=1.0)
    for size in (0.25, 1.0):
        parameter.grad = torch.full((4,), size)
        norms.clip([parameter])
        assert float(parameter.grad.norm()) <= 1.0 + 1e-6
    assert norms.metrics() == pytest.approx(
        {"gradient_norm": (0.5 + 2.0) / 2, "gradient_norm_max": 2.0, "gradient_clipped": 0.5}
    )


def test_without_a_limit_nothing_is_clipped() -> None:
    parameter = nn.Parameter(torch.zeros(4))
    parameter.grad = torch.full((4,), 1e6)
    norms = GradientNorms(max_grad_norm=None)
    norms.clip([parameter])
    assert math.isclose(float(parameter.grad[0]), 1e6)
    assert norms.metrics()["gradient_clipped"] == 0


def test_a_norm_that_overflows_leaves_gradients_alone_where_nothing_is_clipped() -> None:
    parameter = nn.Parameter(torch.zeros(4))
    parameter.grad = torch.full((4,), 3e38)
    norms = GradientNorms(None)
    norms.clip([parameter])
    assert parameter.grad.tolist() == torch.full((4,), 3e38).tolist()
