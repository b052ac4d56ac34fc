"""Encoders of whole sequences: padding changes nothing, truncation changes gradients alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.bptt.state import map_state
from workloads.hyperparameters import Hyperparameters
from workloads.models.cells import BUILTIN
from workloads.models.encoder import Encoder, reverse

FEATURES = 3


def make(**params: object) -> Encoder:
    torch.manual_seed(0)
    return Encoder(Hyperparameters(hidden_size=4, num_layers=2, **params), FEATURES).double()  # type: ignore[arg-type]


@settings(deadline=None, max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    bidirectional=st.booleans(),
    cell_type=st.sampled_from(sorted(BUILTIN)),
    truncation_length=st.integers(1, 14),
)
def test_a_batch_gives_what_its_sequences_give_one_by_one(
    lengths: list[int], bidirectional: bool, cell_type: str, truncation_length: int
) -> None:
    encoder = make(bidirectional=bidirectional, cell_type=cell_type, truncation_length=truncation_length)
    inputs = torch.randn(max(lengths), len(lengths), FEATURES, dtype=torch.float64)
    together = encoder(inputs, torch.tensor(lengths))
    for place, length in enumerate(lengths):
        alone = encoder(inputs[:length, place : place + 1], torch.tensor([length]))
        torch.testing.assert_close(together[:length, place : place + 1], alone)


def test_the_gradients_of_a_batch_are_those_of_its_sequences_added_up() -> None:
    encoder = make(bidirectional=True, truncation_length=3)
    lengths = [7, 4]
    inputs = torch.randn(7, 2, FEATURES, dtype=torch.float64)
    outputs = encoder(inputs, torch.tensor(lengths))
    sum(outputs[:length, place].square().sum() for place, length in enumerate(lengths)).backward()
    together = {name: value.grad.clone() for name, value in encoder.named_parameters() if value.grad is not None}
    encoder.zero_grad()
    for place, length in enumerate(lengths):
        encoder(inputs[:length, place : place + 1], torch.tensor([length])).square().sum().backward()
    assert len(together) == len(list(encoder.parameters()))
    torch.testing.assert_close(together, {name: value.grad for name, value in encoder.named_parameters()})


@pytest.mark.parametrize("bidirectional", [False, True])
def test_truncation_leaves_the_outputs_and_changes_the_gradients(bidirectional: bool) -> None:
    inputs, lengths = torch.randn(20, 2, FEATURES, dtype=torch.float64), torch.tensor([20, 15])
    outputs, gradients = [], []
    for truncation_length in (2, 20):
        encoder = make(bidirectional=bidirectional, truncation_length=truncation_length)
        found = encoder(inputs, lengths)
        found[-1, 0].sum().backward()
        outputs.append(found.detach())
        gradients.append(torch.cat([value.grad.flatten() for value in encoder.parameters()]))
    torch.testing.assert_close(outputs[0], outputs[1])
    assert not torch.allclose(gradients[0], gradients[1])


def test_a_gradient_reaches_the_inputs_within_the_truncation_length_and_no_others() -> None:
    encoder = make(truncation_length=5)
    inputs = torch.randn(20, 1, FEATURES, dtype=torch.float64, requires_grad=True)
    encoder(inputs, torch.tensor([20]))[19].sum().backward()
    assert inputs.grad is not None
    reached = inputs.grad.abs().sum((1, 2)).nonzero().flatten().tolist()
    assert reached == [15, 16, 17, 18, 19]


@pytest.mark.parametrize("truncation_length", [4, 30])
def test_dropout_is_the_same_at_every_step_and_on_the_way_back(truncation_length: int) -> None:
    encoder = make(dropout=0.5, truncation_length=truncation_length)
    inputs, lengths = torch.randn(30, 8, FEATURES, dtype=torch.float64), torch.tensor([30] * 8)
    outputs = encoder(inputs, lengths)
    dropped = outputs == 0
    assert 0.2 < dropped.double().mean() < 0.8
    assert (dropped == dropped[0]).all()
    outputs.square().sum().backward()
    found = {name: value.grad.clone() for name, value in encoder.named_parameters() if value.grad is not None}
    encoder.zero_grad()
    state = None
    for start in range(0, 30, truncation_length):  # the masks are still those of the batch
        window, state = encoder.forward_stacks[0](inputs[start : start + truncation_length], state)
        window.square().sum().backward()
        state = map_state(torch.Tensor.detach, state)
    torch.testing.assert_close(found, {name: value.grad for name, value in encoder.named_parameters()})
    assert not torch.equal(encoder(inputs, lengths), outputs)
    encoder.eval()
    assert torch.equal(encoder(inputs, lengths), encoder(inputs, lengths))


def test_reversing_twice_is_nothing_and_padding_stays() -> None:
    sequences = torch.arange(10.0).reshape(5, 2, 1)
    lengths = torch.tensor([5, 3])
    assert reverse(sequences, lengths)[:, 1, 0].tolist() == [5, 3, 1, 7, 9]
    assert torch.equal(reverse(reverse(sequences, lengths), lengths), sequences)


def test_k1_says_how_many_steps_share_a_window() -> None:
    """With a k1 of 1 every output reaches back the whole truncation length; else only the last of a window does."""
    inputs = torch.randn(9, 1, FEATURES, dtype=torch.float64)
    reached = {}
    for k1 in (1, None):
        encoder = make(truncation_length=3, k1=k1)
        given_inputs = inputs.clone().requires_grad_()
        encoder(given_inputs, torch.tensor([9]))[6].sum().backward()
        assert given_inputs.grad is not None
        reached[k1] = given_inputs.grad.abs().sum((1, 2)).nonzero().flatten().tolist()
    assert reached == {1: [4, 5, 6], None: [6]}
