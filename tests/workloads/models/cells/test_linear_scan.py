"""The linear recurrence: in pairs as one by one, over long windows, and its gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workloads.models.cells import linear_scan as scans

BATCH, UNITS = 2, 3


def plain(decays: Tensor, drives: Tensor, before: Tensor) -> Tensor:
    """Write the recurrence down, with autograd's own way back."""
    states = []
    for step, drive in enumerate(drives):
        before = decays[step % len(decays)] * before + drive
        states.append(before)
    return torch.stack(states)


def arguments(length: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    decays = torch.rand(length, BATCH, UNITS, dtype=dtype)
    return decays, torch.randn(length, BATCH, UNITS, dtype=dtype), torch.randn(BATCH, UNITS, dtype=dtype)


@pytest.fixture(params=["one by one", "in pairs"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(scans, "in_pairs", lambda _: request.param == "in pairs")
    return str(request.param)


@given(length=st.integers(1, 130), seed=st.integers(0, 5), dtype=st.sampled_from([torch.float64, torch.complex128]))
@settings(deadline=None, max_examples=80)
def test_pairs_give_what_steps_one_by_one_give(length: int, seed: int, dtype: torch.dtype) -> None:
    decays, drives, _ = arguments(length, dtype, seed)
    nothing = torch.zeros_like(drives[0])
    expected = plain(decays, drives, nothing)
    torch.testing.assert_close(scans.run_one_by_one(decays, drives, nothing), expected)
    torch.testing.assert_close(scans.run_in_pairs(decays, drives), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", [(7, BATCH, UNITS), (1, 1, UNITS)])
@pytest.mark.parametrize("length", [1, 2, 7])
def test_gradients_are_those_of_the_recurrence_written_down(
    way: str, dtype: torch.dtype, shape: tuple[int, ...], length: int
) -> None:
    _, drives, before = arguments(length, dtype)
    decays = torch.rand(min(shape[0], length), *shape[1:], dtype=dtype)
    given_tensors = [tensor.requires_grad_() for tensor in (decays, drives, before)]
    weights = torch.randn_like(drives)

    def gradients(run: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        states = run(*given_tensors)
        return states, *torch.autograd.grad((states * weights).abs().square().sum(), given_tensors)

    torch.testing.assert_close(gradients(scans.linear_scan), gradients(plain))


@pytest.mark.parametrize("least", [0.0, 0.99])
def test_two_thousand_steps_in_single_precision_are_finite_and_right(way: str, least: float) -> None:
    decays, drives, before = arguments(2000, torch.float32)
    exact = [(least + (1 - least) * decays).double(), drives.double(), before.double()]
    rounded = [tensor.float() for tensor in exact]
    results = []
    for tensors, run in ((exact, plain), (rounded, scans.linear_scan)):
        for tensor in tensors:
            tensor.requires_grad_()
        states = run(*tensors)
        results.append([states, *torch.autograd.grad(states.square().mean(), tensors)])
    for expected, found in zip(*results, strict=True):
        assert found.isfinite().all()
        assert float((found - expected).norm() / expected.norm()) < 1e-5
