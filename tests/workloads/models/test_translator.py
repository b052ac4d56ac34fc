"""The translator: padding changes nothing, chunks change nothing, truncation changes gradients and memory alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workloads.hyperparameters import Hyperparameters
from workloads.models import translator
from workloads.models.cells import BUILTIN
from workloads.models.translator import Translator
from workloads.tasks.translating import translate

SOURCE, TARGET = 9, 7


def make(seed: int = 0, **params: Any) -> Translator:
    torch.manual_seed(seed)
    h = Hyperparameters(**{"hidden_size": 6, "embedding_size": 5, **params})
    return Translator(h, source_vocabulary=SOURCE, target_vocabulary=TARGET).double()


def loss(network: Translator, pairs: list[tuple[list[int], list[int]]], smoothing: float = 0.0) -> Tensor:
    """The summed loss of a padded batch; padding is of tokens that would not be harmless."""
    sources, targets = zip(*pairs, strict=True)
    source, target = (
        torch.tensor([side + [5] * (max(map(len, sides)) - len(side)) for side in sides]).T
        for sides in (sources, targets)
    )
    before = torch.cat([torch.ones_like(target[:1]), target[:-1]])
    lengths = torch.tensor([len(target) for target in targets])
    present = torch.arange(len(target))[:, None] < lengths
    encoded = network.encode(source, torch.tensor([len(source) for source in sources]))
    hidden = network.decode(before, encoded)
    return network.loss(hidden, encoded, target, present=present, smoothing=smoothing)


def gradients(network: Translator) -> dict[str, Tensor]:
    return {name: value.grad for name, value in network.named_parameters() if value.grad is not None}


SENTENCES = st.lists(
    st.tuples(
        st.lists(st.integers(0, SOURCE - 1), min_size=1, max_size=8),
        st.lists(st.integers(0, TARGET - 1), min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
)
BATCH = [([3, 4, 8, 2, 6, 1, 7], [3, 4, 2]), ([1], [2, 3, 3, 5, 6, 4]), ([5, 6, 2], [2])]


@settings(deadline=None, max_examples=25)
@given(
    pairs=SENTENCES,
    attention=st.sampled_from(["additive", "dot"]),
    bidirectional=st.booleans(),
    cell_type=st.sampled_from(sorted(BUILTIN)),
    truncation_length=st.integers(1, 10),
)
def test_the_loss_of_a_batch_is_that_of_its_pairs_one_by_one(
    pairs: list[tuple[list[int], list[int]]],
    attention: str,
    bidirectional: bool,
    cell_type: str,
    truncation_length: int,
) -> None:
    network = make(
        attention=attention, bidirectional=bidirectional, cell_type=cell_type, truncation_length=truncation_length
    )
    torch.testing.assert_close(loss(network, pairs), sum(loss(network, [pair]) for pair in pairs))


@pytest.mark.parametrize("attention", ["additive", "dot"])
def test_the_gradients_of_a_batch_are_those_of_its_pairs_added_up(attention: str) -> None:
    network = make(attention=attention, truncation_length=2, num_layers=2, layer_norm=True)
    loss(network, BATCH).backward()
    together = {name: value.clone() for name, value in gradients(network).items()}
    network.zero_grad()
    for pair in BATCH:
        loss(network, [pair]).backward()
    assert len(together) == len(list(network.parameters()))
    torch.testing.assert_close(together, gradients(network))


@pytest.mark.parametrize("attention", ["additive", "dot"])
def test_attention_and_output_in_chunks_are_the_same(attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for numbers in (2**24, 1):
        monkeypatch.setattr(translator, "CHUNK_NUMBERS", numbers)
        network = make(attention=attention, dropout=0.4, truncation_length=3)
        total = loss(network, BATCH, smoothing=0.1)
        total.backward()
        found.append((total.detach(), gradients(network)))
    torch.testing.assert_close(found[0], found[1])


def test_truncation_leaves_the_loss_and_changes_the_gradients_of_both_sides() -> None:
    found = {}
    for truncation_length in (1, 20):
        network = make(truncation_length=truncation_length)
        total = loss(network, BATCH)
        total.backward()
        found[truncation_length] = (float(total), gradients(network))
    assert found[1][0] == pytest.approx(found[20][0])
    for name in ("encoder.forward_stacks.0.layers.0.weight_hh_l0", "decoder.layers.0.weight_hh_l0"):
        assert not torch.allclose(found[1][1][name], found[20][1][name])
    torch.testing.assert_close(found[1][1]["output.weight"], found[20][1]["output.weight"])


def test_a_truncation_length_beyond_the_longest_side_is_full_backpropagation() -> None:
    found = []
    for truncation_length in (7, 1000):
        network = make(truncation_length=truncation_length, bidirectional=True)
        loss(network, BATCH).backward()
        found.append(gradients(network))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("beam_width", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_sentences_translated_side_by_side_are_translated_as_alone(beam_width: int, seed: int) -> None:
    network = make(seed, bidirectional=True, truncation_length=2).eval()
    lengths = [7, 1, 3]
    source = torch.randint(0, SOURCE, (7, 3))
    with torch.no_grad():
        for parameter in network.output.parameters():
            parameter.mul_(8)  # an untrained network holds all sentences for much alike
        together = translate(network, source, torch.tensor(lengths), beam_width=beam_width)
        alone = [
            translate(network, source[:length, [place]], torch.tensor([length]), beam_width=beam_width)[0]
            for place, length in enumerate(lengths)
        ]
    assert together == alone


def test_stepping_through_a_sentence_gives_the_loss_of_training() -> None:
    network = make(num_layers=2).eval()
    source, target = [3, 4, 8], [3, 5, 4, 2]
    with torch.no_grad():
        encoded = network.encode(torch.tensor(source)[:, None], torch.tensor([3]))
        total, state = 0.0, None
        for before, token in zip([1, *target], target, strict=False):
            scores, state = network.step(torch.tensor([before]), state, encoded)
            total -= float(scores[0, token])
        assert total == pytest.approx(float(loss(network, [(source, target)])))


def kept_bytes(length: int, truncation_length: int) -> int:
    """Bytes that autograd keeps for the way back of a pair of `length` tokens on each side."""
    network = make(truncation_length=truncation_length, hidden_size=32).float()
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss(network, [([3] * length, [4] * length)])
    return sum(kept.values())


def test_attention_keeps_no_more_than_grows_with_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translator, "CHUNK_NUMBERS", 2**12)
    weights = kept_bytes(16, 8)
    short, long = kept_bytes(256, 8) - weights, kept_bytes(1024, 8) - weights
    assert long < 4.5 * short, "linear: attention of all to all would be sixteen times as much"
    assert long < 1024 * 32 * 4 * 40, "some tensors of inputs and layer outputs"
    assert math.isfinite(long)
