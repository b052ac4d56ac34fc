"""Dropout from few random bits: as often, as large and as repeatable as torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workloads.models.dropout import CHANCES, Dropout


@pytest.mark.parametrize("probability", [0.001, 0.1, 0.3, 0.5, 0.9])
def test_as_many_are_dropped_as_asked_for_and_the_rest_makes_up_for_them(probability: float) -> None:
    torch.manual_seed(0)
    dropped = Dropout(probability)(torch.ones(1000, 1001))
    kept = 1 - round(probability * CHANCES) / CHANCES
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / kept], rel=1e-6)
    found = float((dropped == 0).double().mean())
    assert abs(found - probability) < 5 * (probability * (1 - probability) / dropped.numel()) ** 0.5 + 1 / CHANCES
    assert float(dropped.double().mean()) == pytest.approx(1, abs=0.02)


def test_no_number_tells_of_its_neighbours() -> None:
    torch.manual_seed(0)
    noise = Dropout(0.5)(torch.ones(2**20)).double() - 1
    for distance in (1, 2, 3, 4, 5, 64):
        assert abs(float((noise[distance:] * noise[:-distance]).mean())) < 5 / 2**10


def test_gradients_go_through_what_was_kept() -> None:
    inputs = torch.randn(7, 3, 5, requires_grad=True)
    outputs = Dropout(0.4)(inputs)
    outputs.sum().backward()
    assert inputs.grad is not None
    assert torch.equal(inputs.grad * inputs.detach(), outputs.detach())
    assert inputs.grad.count_nonzero() not in (0, inputs.numel())


def test_the_mask_follows_from_torchs_generator() -> None:
    dropout, inputs = Dropout(0.3), torch.randn(11, 13)
    before = torch.get_rng_state()
    first, second = dropout(inputs), dropout(inputs)
    torch.set_rng_state(before)
    assert torch.equal(dropout(inputs), first)
    assert torch.equal(dropout(inputs), second)
    assert not torch.equal(first, second)


def test_an_array_that_lies_otherwise_in_memory_is_dropped_out_alike() -> None:
    inputs, dropout = torch.randn(6, 4, 5), Dropout(0.5)
    before = torch.get_rng_state()
    outputs = dropout(inputs.transpose(0, 1))
    torch.set_rng_state(before)
    assert torch.equal(outputs, dropout(inputs.transpose(0, 1).contiguous()))


@pytest.mark.parametrize("shape", [(0,), (3, 0), (1,), (5,)])
def test_few_numbers_are_no_special_case(shape: tuple[int, ...]) -> None:
    assert Dropout(0.5)(torch.ones(shape)).shape == shape


def test_what_is_not_covered_is_torchs() -> None:
    inputs = torch.randn(9, 9)
    assert Dropout(0.5).eval()(inputs) is inputs
    for changed, probability in ((inputs.double(), 0.5), (inputs, 1.0), (inputs, 0.0), (inputs, 1e-9)):
        before = torch.get_rng_state()
        outputs = Dropout(probability)(changed)
        torch.set_rng_state(before)
        assert torch.equal(outputs, nn.Dropout(probability)(changed))
