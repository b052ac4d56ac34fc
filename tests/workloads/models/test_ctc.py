"""Decoding against a search through every alignment there is."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.models.ctc import BLANK, best_texts, ctc_loss, decode_by_beam, decode_greedily


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK)


def by_enumeration(log_probabilities: np.ndarray) -> dict[tuple[int, ...], float]:
    """Return the probability of each text, every alignment walked through."""
    found: defaultdict[tuple[int, ...], float] = defaultdict(float)
    steps, symbols = log_probabilities.shape
    for path in itertools.product(range(symbols), repeat=steps):
        found[collapse(path)] += math.exp(sum(log_probabilities[step, symbol] for step, symbol in enumerate(path)))
    return found


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 5), sharpness=st.floats(0.1, 3))
def test_a_wide_beam_finds_the_likeliest_text(seed: int, steps: int, sharpness: float) -> None:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, sharpness, (steps, 3)))
    log_probabilities = torch.log_softmax(logits, -1).numpy()
    every = by_enumeration(log_probabilities)
    found = tuple(decode_by_beam(log_probabilities, beam_width=100))
    assert every[found] == pytest.approx(max(every.values()))


def test_a_beam_adds_up_alignments_where_greedy_decoding_takes_one() -> None:
    # Two steps: blank is likeliest at each, but "a" can be said in three ways.
    log_probabilities = np.log(np.array([[0.55, 0.45], [0.55, 0.45]]))
    assert decode_greedily(torch.from_numpy(log_probabilities)[:, None], [2]) == [[]]
    assert decode_by_beam(log_probabilities, 2) == [1]


@settings(deadline=None)
@given(path=st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_greedy_decoding_drops_repeats_and_blanks(path: list[int]) -> None:
    logits = torch.nn.functional.one_hot(torch.tensor(path), 4).float()[:, None] * 20
    assert decode_greedily(logits, [len(path)]) == [list(collapse(tuple(path)))]
    assert best_texts(logits, [len(path)], beam_width=4) == [list(collapse(tuple(path)))]


def test_the_loss_is_the_negative_logarithm_of_all_alignments_and_padding_is_not_heard() -> None:
    logits = torch.randn(5, 2, 3, dtype=torch.float64)
    tokens = [[1, 1], [2]]
    steps, counts = torch.tensor([5, 3]), torch.tensor([2, 1])
    found = ctc_loss(logits, torch.tensor([1, 1, 2]), steps=steps, token_counts=counts)
    expected = 0.0
    for place, spelled in enumerate(tokens):
        probabilities = by_enumeration(torch.log_softmax(logits[: steps[place], place], -1).numpy())
        expected -= math.log(probabilities[tuple(spelled)])
    assert float(found) == pytest.approx(expected)
