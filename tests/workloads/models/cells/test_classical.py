"""GRU, LSTM and RNN as compiled here against torch's own: outputs, states and gradients, and what is left to torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from workloads.bptt.chunks import Chunks, run_chunks
from workloads.bptt.graph_bytes import step_bytes
from workloads.bptt.horizon_measurement import measure_horizon
from workloads.hyperparameters import Hyperparameters
from workloads.models.cells import make_cell
from workloads.models.cells.classical import Embedded, covers_window, inputs_of
from workloads.models.cells.compiled import kernels
from workloads.models.cells.kernels import COMPILED, FEWEST_STEPS, TORCH, set_kernel
from workloads.models.recurrent import RecurrentNetwork

CELL_TYPES = ("gru", "lstm", "rnn", "rnn_relu")

pytestmark = pytest.mark.skipif(kernels() is None, reason="there is no C compiler")


def states(cell_type: str, batch: int, hidden: int) -> list[Tensor]:
    """Return a state drawn at random: two tensors for an LSTM, one for the others."""
    return [torch.randn(1, batch, hidden) for _ in range(2 if cell_type == "lstm" else 1)]


def results(
    cell: Any, inputs: Tensor, state: list[Tensor] | None, weights: list[Tensor], numbers: Tensor | None = None
) -> list[Tensor]:
    """Return outputs, state and all gradients of a weighted sum of both, in the cell's precision.

    With numbers, inputs are vectors that they stand for.
    """
    dtype = cell.weight_hh_l0.dtype
    watched = [each.to(dtype).requires_grad_() for each in (inputs, *(state or ()))]
    given = watched[0] if numbers is None else Embedded(numbers, watched[0])
    outputs, after = cell(given, None if state is None else as_the_cell_has_it(watched[1:]))
    found = [outputs, *(after if isinstance(after, tuple) else [after])]
    total = torch.stack([(each * weight).sum() for each, weight in zip(found, weights, strict=True)]).sum()
    return [*found, *torch.autograd.grad(total, [*watched, *cell.parameters()])]


def without_a_graph(cell: Any, inputs: Tensor | Embedded, state: list[Tensor] | None) -> list[Tensor]:
    """Return outputs and state as an evaluation has them, for which nothing is kept."""
    with torch.no_grad():
        outputs, after = cell(inputs, None if state is None else as_the_cell_has_it(state))
    return [outputs, *(after if isinstance(after, tuple) else [after])]


def equal(found: list[Tensor], others: list[Tensor]) -> bool:
    """Tell whether tensors are the same to the last bit."""
    return all(torch.equal(a, b) for a, b in zip(found, others, strict=True))


def check_against_torch(
    cell: Any, inputs: Tensor, state: list[Tensor] | None, weights: list[Tensor], numbers: Tensor | None = None
) -> None:
    """Assert that the kernel's `results` are as near to exact ones as torch's, and the same without a graph."""
    set_kernel(cell, COMPILED)
    found, shown = results(cell, inputs, state, weights, numbers), len(weights)
    given_inputs = inputs if numbers is None else Embedded(numbers, inputs)
    assert equal(found[:shown], without_a_graph(cell, given_inputs, state))
    set_kernel(cell, TORCH)
    theirs = results(cell, inputs, state, weights, numbers)
    exact = results(cell.double(), inputs, state, weights, numbers)
    # Where a tanh is nearly 1 its slope has few digits, and a network of one unit has nothing to average that with. A
    # rectified unit that is nothing but rounding may fall on either side of 0, and its slope with it.
    assert apart(found[:shown], exact[:shown]) < max(1e-5, 3 * apart(theirs[:shown], exact[:shown]))
    rounding = 0.05 if cell.kind == "relu" else 1e-3 if cell.hidden_size < 4 else 1e-4
    assert apart(found, exact) < max(rounding, 3 * apart(theirs, exact))


def as_the_cell_has_it(state: list[Tensor]) -> Any:
    """Return one tensor, or a tuple of two."""
    return tuple(state) if len(state) > 1 else state[0]


def apart(found: list[Tensor], exact: list[Tensor]) -> float:
    """Return the largest relative distance, tensor by tensor; gradients of hundreds of products round in each."""
    return max(
        float((a - b).detach().norm() / b.detach().norm().clamp(min=1e-6)) for a, b in zip(found, exact, strict=True)
    )


@settings(deadline=None, max_examples=60)
@given(
    cell_type=st.sampled_from(CELL_TYPES),
    steps=st.integers(FEWEST_STEPS, 40),
    batch=st.integers(1, 40),
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    begins=st.sampled_from(["from nothing", "from a state"]),
    seed=st.integers(0, 9),
)
def test_outputs_states_and_gradients_are_torchs(
    cell_type: str, steps: int, batch: int, sizes: tuple[int, int], begins: str, seed: int
) -> None:
    torch.manual_seed(seed)
    cell: Any = make_cell(cell_type, *sizes)
    inputs = torch.randn(steps, batch, sizes[0])
    state = states(cell_type, batch, sizes[1]) if begins == "from a state" else None
    weights = [torch.randn(steps, batch, sizes[1]), *states(cell_type, batch, sizes[1])]
    set_kernel(cell, COMPILED)
    assert covers_window(cell, inputs, None if state is None else as_the_cell_has_it(state))
    check_against_torch(cell, inputs, state, weights)


@pytest.mark.parametrize("cell_type", CELL_TYPES)
@pytest.mark.parametrize(("steps", "batch", "inputs", "hidden"), [(40, 300, 9, 20), (5, 1, 1, 1), (100, 32, 150, 130)])
def test_sizes_beyond_one_block_are_right_too(cell_type: str, steps: int, batch: int, inputs: int, hidden: int) -> None:
    torch.manual_seed(0)
    cell: Any = make_cell(cell_type, inputs, hidden)
    given_tensors = torch.randn(steps, batch, inputs), states(cell_type, batch, hidden)
    weights = [torch.randn(steps, batch, hidden), *states(cell_type, batch, hidden)]
    set_kernel(cell, COMPILED)
    found = results(cell, *given_tensors, weights)
    again = results(cell, *given_tensors, weights)
    assert equal(found, again)
    assert equal(found[: len(weights)], without_a_graph(cell, *given_tensors))
    set_kernel(cell, TORCH)
    assert apart(found, results(cell.double(), *given_tensors, weights)) < 1e-5


def test_tanh_is_right_to_a_few_units_in_the_last_place() -> None:
    cell: Any = make_cell("rnn", 1, 1)
    set_kernel(cell, COMPILED)
    with torch.no_grad():
        for weight, value in zip(cell.parameters(), (1.0, 0.0, 0.0, 0.0), strict=True):
            weight.fill_(value)
        size = torch.cat([torch.logspace(-30, 0, 20_001), torch.linspace(0.2, 12, 20_001), torch.tensor([1e10])])
        values = torch.cat([size, -size, torch.zeros(1)])
        found, _ = cell(values.view(-1, 1, 1))
    exact = values.double().tanh()
    assert float(((found[:, 0, 0].double() - exact).abs() / exact.abs().clamp(min=1e-37)).max()) < 4 * 2.0**-24
    assert float(found.abs().max()) == 1.0


@pytest.mark.parametrize("cell_type", CELL_TYPES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_what_is_no_number_is_not_hidden_and_what_is_huge_is_as_torch_has_it(cell_type: str, value: float) -> None:
    torch.manual_seed(0)
    cell: Any = make_cell(cell_type, 3, 20)
    inputs = torch.randn(8, 2, 3)
    inputs[4, 1, 1] = value
    outputs = []
    for kernel in (COMPILED, TORCH):
        set_kernel(cell, kernel)
        outputs.append(cell(inputs)[0].detach())
    assert torch.equal(outputs[0].isnan(), outputs[1].isnan())
    torch.testing.assert_close(*outputs, equal_nan=True, rtol=1e-4, atol=1e-5)
    assert outputs[0].isfinite().all() == (abs(value) == 1e30 or (cell_type != "rnn_relu" and value == float("inf")))


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_a_network_of_several_layers_with_dropout_learns_as_with_torchs(cell_type: str) -> None:
    h = Hyperparameters(cell_type=cell_type, hidden_size=24, num_layers=3, dropout=0.3, layer_norm=True)
    network = RecurrentNetwork(h, input_size=5, output_size=2)
    inputs, found = torch.randn(30, 6, 5), []
    for kernel in (COMPILED, TORCH):
        assert set_kernel(network, kernel) == kernel
        torch.manual_seed(1)
        outputs, _ = network(inputs)
        found.append([outputs, *torch.autograd.grad(outputs.square().sum(), list(network.parameters()))])
    assert apart(*found) < 1e-4


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_gradients_through_states_alone_and_twice_through_one_graph(cell_type: str) -> None:
    torch.manual_seed(0)
    cell: Any = make_cell(cell_type, 4, 18)
    inputs, found = torch.randn(20, 3, 4), []
    before = [each.requires_grad_() for each in states(cell_type, 3, 18)]
    for kernel in (COMPILED, TORCH):
        set_kernel(cell, kernel)
        after = cell(inputs, as_the_cell_has_it(before))[1]
        total = after[1].sum() if cell_type == "lstm" else after.sum()
        first, second = (torch.autograd.grad(total, [*before, *cell.parameters()], retain_graph=True) for _ in "ab")
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        found.append(list(first))
    assert apart(*found) < 1e-5


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_horizons_and_checkpointed_chunks_are_those_of_torchs_kernels(cell_type: str) -> None:
    torch.manual_seed(0)
    network = RecurrentNetwork(Hyperparameters(cell_type=cell_type, hidden_size=16), input_size=4, output_size=2)
    inputs, targets, horizons, gradients = torch.randn(90, 8, 4), torch.randn(90, 8, 2), [], []

    def squared_error(outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        return (outputs - targets).square().sum(), targets.numel()

    for kernel in (COMPILED, TORCH):
        set_kernel(network, kernel)
        measured = measure_horizon(network, squared_error, inputs=inputs, targets=targets, state=None)
        assert measured is not None
        horizons.append(torch.tensor([*measured.norms, *measured.lost]))
        network.zero_grad()
        outputs, _ = run_chunks(network, inputs, None, Chunks.of(90, 13))
        squared_error(outputs, targets)[0].backward()
        gradients.append([weight.grad for weight in network.parameters() if weight.grad is not None])
    torch.testing.assert_close(*horizons, rtol=1e-3, atol=1e-9)
    assert apart(*gradients) < 1e-4


# Of a GRU three gates, what the state gave the candidate, and the outputs; of an LSTM four, its cell and the outputs.
@pytest.mark.parametrize(("cell_type", "kept"), [("gru", 5), ("lstm", 6), ("rnn", 1)])
def test_what_a_step_keeps_is_counted(cell_type: str, kept: int) -> None:
    cell = make_cell(cell_type, 10, 16)
    set_kernel(cell, COMPILED)
    assert step_bytes(cell, cell, torch.randn(80, 3, 10), batch_size=3).graph == 4 * 3 * kept * 16


def test_weights_are_torchs_by_name_and_shape() -> None:
    for cell_type, theirs in (("gru", nn.GRU(5, 7)), ("lstm", nn.LSTM(5, 7)), ("rnn", nn.RNN(5, 7))):
        cell = make_cell(cell_type, 5, 7)
        cell.load_state_dict(theirs.state_dict())
        theirs.load_state_dict(cell.state_dict())
        assert isinstance(cell, type(theirs))


def test_lstms_are_torchs_where_a_state_or_outputs_are_of_another_kind() -> None:
    cell: Any = make_cell("lstm", 4, 6)
    set_kernel(cell, COMPILED)
    inputs, right, wrong = torch.randn(10, 2, 4), torch.zeros(1, 2, 6), torch.zeros(2, 6)
    assert covers_window(cell, inputs, (right, right))
    assert not covers_window(cell, inputs, (right,))
    assert not covers_window(cell, inputs, (right, wrong))
    assert not covers_window(cell, inputs, (right, right.double()))
    projected: Any = type(cell)(4, 6, proj_size=3)
    set_kernel(projected, COMPILED)
    assert projected(inputs)[0].shape == (10, 2, 3)


def test_what_is_not_covered_is_torchs() -> None:
    cell: Any = make_cell("gru", 4, 6)
    set_kernel(cell, COMPILED)
    inputs = torch.randn(10, 2, 4)
    assert covers_window(cell, inputs, None)
    assert not covers_window(cell, inputs[: FEWEST_STEPS - 1], None)
    assert not covers_window(cell, inputs[:, :0], None)
    assert not covers_window(cell, inputs.double(), None)
    assert not covers_window(cell, inputs, torch.zeros(2, 6))
    assert not covers_window(cell, inputs.to("meta"), None)
    packed = nn.utils.rnn.pack_padded_sequence(inputs, torch.tensor([10, 7]))
    assert cell(packed)[0].data.shape == (17, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert not covers_window(cell, inputs, None)
    for options in ({"num_layers": 2}, {"bidirectional": True}, {"batch_first": True}, {"bias": False}):
        other: Any = type(cell)(4, 6, **options)
        set_kernel(other, COMPILED)
        assert not covers_window(other, inputs, None)
        assert other(inputs)[0].requires_grad
    with pytest.raises(RuntimeError, match="input"):
        cell(torch.randn(10, 2, 5))
    doubled: Any = make_cell("gru", 4, 6).double()
    set_kernel(doubled, COMPILED)
    assert doubled(inputs.double())[0].dtype == torch.float64


@settings(deadline=None, max_examples=40)
@given(
    cell_type=st.sampled_from(CELL_TYPES),
    steps=st.integers(FEWEST_STEPS, 40),
    batch=st.integers(1, 40),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    vocabulary=st.integers(1, 30),
    seed=st.integers(0, 9),
)
def test_numbers_looked_up_are_as_good_as_the_vectors_they_stand_for(
    cell_type: str, steps: int, batch: int, sizes: tuple[int, int], vocabulary: int, seed: int
) -> None:
    torch.manual_seed(seed)
    cell: Any = make_cell(cell_type, *sizes)
    vectors = torch.randn(vocabulary, sizes[0])
    numbers = torch.randint(vocabulary, (batch, steps), dtype=torch.int32).T  # as a task's windows are
    state = states(cell_type, batch, sizes[1])
    weights = [torch.randn(steps, batch, sizes[1]), *states(cell_type, batch, sizes[1])]
    set_kernel(cell, COMPILED)
    embedded = Embedded(numbers, vectors)
    is_for_all = 2 * vocabulary <= steps * batch
    assert (inputs_of(cell, embedded, as_the_cell_has_it(state)) is embedded) == is_for_all
    check_against_torch(cell, vectors, state, weights, numbers)


@pytest.mark.parametrize("number", [-1, 5, 2**40])
def test_a_number_without_a_vector_is_an_error(number: int) -> None:
    cell, numbers = make_cell("gru", 3, 4), torch.zeros(6, 7, dtype=torch.int64)
    numbers[5, 6] = number
    for kernel in (COMPILED, TORCH):
        set_kernel(cell, kernel)
        with pytest.raises(IndexError):
            cell(Embedded(numbers, torch.randn(5, 3)))


def test_numbers_that_are_not_whole_are_torchs_error() -> None:
    cell = make_cell("lstm", 3, 4)
    set_kernel(cell, COMPILED)
    with pytest.raises(RuntimeError, match="Long, Int"):
        cell(Embedded(torch.zeros(6, 7), torch.randn(5, 3)))


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_a_network_of_few_tokens_learns_as_with_torchs(cell_type: str) -> None:
    h = Hyperparameters(cell_type=cell_type, hidden_size=24, num_layers=2)
    network = RecurrentNetwork(h, vocabulary_size=11, output_size=11)
    tokens, found = torch.randint(11, (30, 6)), []
    for kernel in (COMPILED, TORCH):
        assert set_kernel(network, kernel) == kernel
        outputs, _ = network(tokens)
        found.append([outputs, *torch.autograd.grad(outputs.square().sum(), list(network.parameters()))])
    assert apart(*found) < 1e-4
