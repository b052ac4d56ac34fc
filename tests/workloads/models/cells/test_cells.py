"""What every cell by name has in common, and what each of this package's own promises beside its equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workloads.bptt.horizon_measurement import measure_horizon
from workloads.bptt.state import state_tensors
from workloads.hyperparameters import CELL_TYPES, Hyperparameters
from workloads.models.cells import BUILTIN
from workloads.models.cells.compiled import kernels
from workloads.models.cells.ind_rnn import IndRNN
from workloads.models.cells.kernels import COMPILED, FEWEST_STEPS, TORCH, set_kernel
from workloads.models.cells.layer_norm_lstm import LayerNormLSTM
from workloads.models.cells.lru import LARGEST_RADIUS, LEAST_RADIUS, LRU
from workloads.models.cells.min_rnn import MinGRU
from workloads.models.cells.slstm import SLSTM
from workloads.models.recurrent import RecurrentNetwork

TORCHS = ("rnn", "rnn_relu", "lstm", "gru")
COMPILABLE = {"layer_norm_lstm": 2, "min_gru": 1}
"""Cells of this package's own that have compiled steps, and how many tensors their states are of."""
OWN = [cell_type for cell_type in BUILTIN if cell_type not in TORCHS]
BATCH, FEATURES, HIDDEN = 3, 4, 6


def test_every_cell_type_that_a_sweep_file_may_name_is_there() -> None:
    assert {*BUILTIN, "module:Name"} == set(CELL_TYPES)


@settings(deadline=None, max_examples=50)
@given(cell_type=st.sampled_from(OWN), pieces=st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_windows_in_pieces_equal_the_whole_with_their_gradients(cell_type: str, pieces: list[int]) -> None:
    torch.manual_seed(0)
    cell = BUILTIN[cell_type](FEATURES, HIDDEN).double()
    inputs = torch.randn(sum(pieces), BATCH, FEATURES, dtype=torch.float64, requires_grad=True)
    whole, after = cell(inputs, None)
    outputs, state = [], None
    for piece in inputs.split(pieces):
        output, state = cell(piece, state)
        outputs.append(output)
    joined = torch.cat(outputs)
    torch.testing.assert_close((joined, state), (whole, after))
    weights = torch.randn_like(whole)
    watched = [inputs, *cell.parameters()]
    gradients = [torch.autograd.grad((found * weights).sum(), watched) for found in (joined, whole)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("cell_type", OWN)
def test_two_thousand_steps_in_single_precision_are_finite_and_right(cell_type: str) -> None:
    torch.manual_seed(0)
    cell = BUILTIN[cell_type](FEATURES, HIDDEN)
    inputs = torch.randn(2000, BATCH, FEATURES)
    outputs, _ = cell(inputs, None)
    rounded = torch.autograd.grad(outputs.square().mean(), list(cell.parameters()))
    single = outputs.detach()
    exact = cell.double()(inputs.double(), None)[0].detach()
    assert single.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in rounded)
    assert float((single - exact).norm() / exact.norm()) < 1e-4


@pytest.mark.parametrize("cell_type", BUILTIN)
def test_gradients_by_distance_are_finite_and_none_is_an_outlier(cell_type: str) -> None:
    torch.manual_seed(0)
    network = RecurrentNetwork(Hyperparameters(cell_type=cell_type, hidden_size=16), input_size=4, output_size=2)
    inputs, targets = torch.randn(40, 8, 4), torch.randn(40, 8, 2)

    def squared_error(outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        return (outputs - targets).square().sum(), targets.numel()

    horizon = measure_horizon(network, squared_error, inputs=inputs, targets=targets, state=None)
    assert horizon is not None
    norms = dict(zip(horizon.distances, horizon.norms, strict=True))
    assert all(0 < norm < 10 for norm in norms.values())
    assert 0 < horizon.bias(8) <= 1
    # The window's first state is one of zeros, which must not be a point where a cell has no slope, or an endless one.
    assert norms[40] < 20 * norms[32]


@pytest.mark.parametrize("cell_type", OWN)
def test_a_state_has_the_batch_on_the_axis_where_searching_looks_for_it_and_keeps_no_window_alive(
    cell_type: str,
) -> None:
    _, state = BUILTIN[cell_type](FEATURES, HIDDEN)(torch.randn(50, BATCH, FEATURES), None)
    for tensor in state_tensors(state):
        assert tensor.shape[:2] == (1, BATCH)
        assert tensor.is_floating_point()
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


@pytest.mark.parametrize("cell_type", OWN)
def test_in_bfloat16_products_are_rounded_and_the_state_is_not(cell_type: str) -> None:
    torch.manual_seed(0)
    cell = BUILTIN[cell_type](FEATURES, HIDDEN)
    inputs = torch.randn(30, BATCH, FEATURES)
    exact, _ = cell(inputs, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded, state = cell(inputs, None)
    rounded.sum().backward()
    assert {tensor.dtype for tensor in [rounded, *state_tensors(state)]} == {torch.float32}
    assert not torch.equal(rounded, exact)
    assert float((rounded - exact).detach().norm() / exact.detach().norm()) < 0.03


@pytest.mark.parametrize("cell_type", OWN)
def test_doubles_stay_doubles_in_mixed_precision_on_the_way_back_too(cell_type: str) -> None:
    torch.manual_seed(0)
    cell = BUILTIN[cell_type](FEATURES, HIDDEN).double()
    inputs = torch.randn(9, BATCH, FEATURES, dtype=torch.float64)
    found = []
    for is_mixed in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_mixed):
            outputs, _ = cell(inputs, None)
        found.append(torch.autograd.grad(outputs.square().sum(), list(cell.parameters())))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_an_ind_rnns_weight_beyond_the_bound_acts_as_the_bound_and_is_led_back_alone() -> None:
    cell = IndRNN(1, 2)
    with torch.no_grad():
        cell.from_input.weight.fill_(1.0)
        cell.from_input.bias.zero_()
        cell.recurrent.copy_(torch.tensor([1.5, 0.5]))
    outputs, _ = cell(torch.ones(3, 1, 1))
    assert outputs[:, 0].tolist() == [[1, 1], [2, 1.5], [3, 1.75]]
    for sign, led in ((1.0, True), (-1.0, False)):
        cell.zero_grad()
        (sign * cell(torch.ones(3, 1, 1))[0]).sum().backward()
        assert cell.recurrent.grad is not None
        assert (cell.recurrent.grad != 0).tolist() == [led, True]


@pytest.mark.parametrize("admit", [-500.0, 0.0, 500.0])
@pytest.mark.parametrize("forget", [-500.0, 500.0])
def test_an_slstms_gates_may_be_as_extreme_as_they_like(admit: float, forget: float) -> None:
    torch.manual_seed(0)
    cell = SLSTM(FEATURES, HIDDEN)
    with torch.no_grad():
        cell.from_input.bias[2 * HIDDEN : 3 * HIDDEN] = admit
        cell.from_input.bias[3 * HIDDEN :] = forget
    outputs, state = cell(torch.randn(100, BATCH, FEATURES), None)
    outputs.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in cell.parameters())
    assert float(outputs.detach().abs().max()) < 1
    assert float(state[2].detach().min()) >= 1


@pytest.mark.skipif(kernels() is None, reason="there is no C compiler")
@settings(deadline=None, max_examples=40)
@given(
    cell_type=st.sampled_from(list(COMPILABLE)),
    sizes=st.tuples(st.integers(FEWEST_STEPS, 40), st.integers(1, 40), st.integers(1, 70), st.integers(1, 40)),
    begins=st.sampled_from(["from nothing", "from a state"]),
    seed=st.integers(0, 9),
)
def test_a_cells_compiled_steps_are_those_it_takes_in_torch(
    cell_type: str, sizes: tuple[int, int, int, int], begins: str, seed: int
) -> None:
    compare_compiled(cell_type, sizes, is_begun=begins == "from a state", seed=seed)


@pytest.mark.skipif(kernels() is None, reason="there is no C compiler")
@pytest.mark.parametrize("cell_type", COMPILABLE)
@pytest.mark.parametrize("sizes", [(40, 300, 9, 20), (5, 1, 1, 1), (100, 32, 150, 140)])
def test_a_cells_compiled_steps_are_right_beyond_one_block(cell_type: str, sizes: tuple[int, int, int, int]) -> None:
    compare_compiled(cell_type, sizes, is_begun=True, seed=0)


def compare_compiled(cell_type: str, sizes: tuple[int, int, int, int], *, is_begun: bool, seed: int) -> None:
    """Compare outputs, states and gradients with torch's, and with those in double precision."""
    torch.manual_seed(seed)
    steps, batch, features, hidden = sizes
    cell = BUILTIN[cell_type](features, hidden)
    for parameter in cell.parameters():  # norms' gains and biases too
        parameter.data += 0.1 * torch.randn_like(parameter)
    state = [torch.randn(1, batch, hidden) for _ in range(COMPILABLE[cell_type])]
    inputs, weights = torch.randn(steps, batch, features), torch.randn(steps + len(state), batch, hidden)
    found = []
    for kernel, dtype in ((COMPILED, torch.float32), (TORCH, torch.float32), (TORCH, torch.float64)):
        set_kernel(cell.to(dtype), kernel)
        start = [tensor.to(dtype).requires_grad_() for tensor in state] if is_begun else []
        watched = [inputs.to(dtype).requires_grad_(), *start, *cell.parameters()]
        given_state: Any = (start[0] if len(start) == 1 else tuple(start)) if start else None
        outputs, after = cell(watched[0], given_state)
        joined = torch.cat([outputs, *state_tensors(after)])
        found.append([joined, *torch.autograd.grad((joined * weights).sum(), watched)])
    compiled, theirs, exact = found
    for own, other, right in zip(compiled, theirs, exact, strict=True):
        apart = [float((each - right).detach().norm()) for each in (own, other)]
        # Norms can blow rounding up, here as in torch: the first has a slope of up to 316.
        assert apart[0] <= max(1e-3 * float(right.detach().norm()), 10 * apart[1], 1e-6)


@pytest.mark.skipif(kernels() is None, reason="there is no C compiler")
@pytest.mark.parametrize("cell_type", COMPILABLE)
def test_what_is_wrong_in_its_shape_is_torchs_to_say_and_states_alone_get_gradients(cell_type: str) -> None:
    torch.manual_seed(0)
    cell = BUILTIN[cell_type](FEATURES, HIDDEN)
    set_kernel(cell, COMPILED)
    with pytest.raises(RuntimeError):
        cell(torch.randn(10, BATCH, FEATURES + 1))
    inputs, found = torch.randn(BATCH, 10, FEATURES).transpose(0, 1), []
    alone, begun = torch.randn(1, 1, HIDDEN), []
    for kernel in (COMPILED, TORCH):  # torch lets one stream's state stand for all
        set_kernel(cell, kernel)
        begun.append(cell(inputs, alone if COMPILABLE[cell_type] == 1 else (alone, alone))[0])
    torch.testing.assert_close(*begun)
    one = [torch.rand(1, 1, HIDDEN, requires_grad=True) for _ in range(COMPILABLE[cell_type])]  # one for all streams
    for kernel in (COMPILED, TORCH):
        set_kernel(cell, kernel)
        begun = [each.expand(1, BATCH, HIDDEN) for each in one]
        _, after = cell(inputs, begun[0] if len(begun) == 1 else tuple(begun))
        own = state_tensors(after)[0]
        watched = [*one, *cell.parameters()]
        both = [torch.autograd.grad(own.sum(), watched, retain_graph=True, allow_unused=True) for _ in "ab"]
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(*both, strict=True))
        found.append([each for each in both[0] if each is not None])
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)  # some processors add up in another order


@pytest.mark.skipif(kernels() is None, reason="there is no C compiler")
def test_a_compiled_min_grus_open_gates_keep_their_digits() -> None:
    cell, found = MinGRU(1, 1), []
    with torch.no_grad():
        cell.from_input.weight.zero_()
        cell.from_input.bias.copy_(torch.tensor([14.0, 1.0]))
    for kernel, dtype in ((COMPILED, torch.float32), (TORCH, torch.float64)):
        set_kernel(cell.to(dtype), kernel)
        before = torch.ones(1, 1, 1, dtype=dtype, requires_grad=True)
        _, after = cell(torch.zeros(4, 1, 1, dtype=dtype), before)
        found.append(float(torch.autograd.grad(after.sum(), before)[0]))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    set_kernel(cell.float(), COMPILED)
    endless, _ = cell(torch.tensor([1.0, float("inf"), 1.0, 1.0]).view(4, 1, 1))
    assert endless.isnan().flatten().tolist() == [False, True, True, True]  # zero weights times infinity, and no later


def test_a_layer_norm_lstm_reads_zeros_without_exploding() -> None:
    torch.manual_seed(0)
    cell = LayerNormLSTM(FEATURES, 24)
    inputs = torch.zeros(20, BATCH, FEATURES, requires_grad=True)
    cell(inputs)[0][-1].sum().backward()
    assert all(parameter.grad is not None and float(parameter.grad.norm()) < 1e3 for parameter in cell.parameters())


def test_an_lru_begins_with_eigenvalues_in_its_ring_and_states_as_large_as_inputs() -> None:
    torch.manual_seed(0)
    cell = LRU(16, 400)
    radius = torch.exp(-torch.exp(cell.nu))
    assert float(radius.min()) > LEAST_RADIUS - 1e-4
    assert float(radius.max()) < LARGEST_RADIUS + 1e-4
    assert float(radius.square().mean()) == pytest.approx((LEAST_RADIUS**2 + LARGEST_RADIUS**2) / 2, abs=0.01)
    with torch.no_grad():
        state: Any = cell(torch.randn(3000, 4, 16))[1]
    assert float(state.unflatten(-1, (-1, 2)).square().sum(-1).mean()) == pytest.approx(1, abs=0.15)
