"""Gradient norms and clipping."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from workloads.bptt.gradients import GradientNorms


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
