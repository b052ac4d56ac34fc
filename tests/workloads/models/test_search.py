"""Search: a beam finds what trying everything finds, a beam of one is greedy, and rows leave each other alone."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from workloads.bptt.state import State
from workloads.models.search import Ends, Step, beam_search, greedy_search

CPU = torch.device("cpu")
UNKNOWN, BEGIN, END = 0, 1, 2
VOCABULARY = 5
LONGEST = 3


def chain(seed: int, rows: int, width: int, *, sharpness: float = 2.0) -> Step:
    """A decoder whose scores depend on the row, the last two tokens, and the step."""
    random = torch.Generator().manual_seed(seed)
    table = sharpness * torch.randn(rows, LONGEST + 2, VOCABULARY, VOCABULARY, VOCABULARY, generator=random)
    place = torch.arange(rows).repeat_interleave(width)

    def step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
        before = torch.zeros(1, len(tokens), 2) if state is None else state[0]
        assert isinstance(before, Tensor)
        length, previous = before[0, :, 0].long(), before[0, :, 1].long()
        scores = table[place, length.clamp(max=LONGEST + 1), previous, tokens].log_softmax(-1)
        return scores, (torch.stack([length + 1, tokens], -1).float()[None],)

    return step


def ends(rows: int, longest: int = LONGEST) -> Ends:
    return Ends(BEGIN, END, (UNKNOWN, BEGIN), [longest] * rows)


def score(step: Step, sentence: tuple[int, ...], row: int, rows: int, penalty: float) -> float:
    """The score of one sentence with its end."""
    total, state = 0.0, None
    for before, token in itertools.pairwise([BEGIN, *sentence, END]):
        scores, state = step(torch.full((rows,), before), state)
        total += float(scores[row, token])
    return total / ((5 + len(sentence) + 1) / 6) ** penalty


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_of_all_sentences(seed: int, penalty: float) -> None:
    rows = 3
    words = [token for token in range(VOCABULARY) if token not in (UNKNOWN, BEGIN, END)]
    everything = [each for length in range(LONGEST + 1) for each in itertools.product(words, repeat=length)]
    width = len(everything)
    found = beam_search(chain(seed, rows, width), ends(rows), CPU, beam_width=width, length_penalty=penalty)
    alone = chain(seed, rows, 1)
    for row in range(rows):
        best = max(everything, key=lambda sentence: score(alone, sentence, row, rows, penalty))
        assert found[row] == list(best)


@pytest.mark.parametrize("seed", range(8))
def test_a_beam_of_one_is_greedy(seed: int) -> None:
    step, given = chain(seed, 6, 1), ends(6)
    assert beam_search(step, given, CPU, beam_width=1, length_penalty=1.0) == greedy_search(step, given, CPU)


@pytest.mark.parametrize("width", [1, 2, 3, 7])
def test_rows_side_by_side_are_as_alone(width: int) -> None:
    rows = 4
    together = beam_search(chain(5, rows, width), ends(rows), CPU, beam_width=width, length_penalty=1.0)

    def one(row: int) -> Step:
        whole = chain(5, rows, width)

        def step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
            everywhere = tokens.reshape(1, -1).expand(rows, -1).flatten()
            spread = None if state is None else (state[0].repeat(1, rows, 1),)  # type: ignore[union-attr]
            scores, after = whole(everywhere, spread)
            own = slice(row * width, (row + 1) * width)
            return scores[own], (after[0][:, own],)  # type: ignore[index]

        return step

    for row in range(rows):
        assert beam_search(one(row), ends(1), CPU, beam_width=width, length_penalty=1.0) == [together[row]]


def test_a_wider_beam_never_finds_a_worse_sentence_than_greedy_here() -> None:
    better = 0
    for seed in range(10):
        greedy = greedy_search(chain(seed, 1, 1), ends(1), CPU)[0]
        found = beam_search(chain(seed, 1, 4), ends(1), CPU, beam_width=4, length_penalty=0.0)[0]
        alone = chain(seed, 1, 1)
        by_beam, by_greed = (score(alone, tuple(each), 0, 1, 0.0) for each in (found, greedy))
        assert by_beam >= by_greed - 1e-6 or len(greedy) == LONGEST
        better += by_beam > by_greed + 1e-6
    assert better, "the test would see no difference between the two"


def test_no_sentence_grows_beyond_its_own_longest() -> None:
    def never_ends(tokens: Tensor, state: State) -> tuple[Tensor, State]:
        scores = torch.full((len(tokens), VOCABULARY), -20.0)
        scores[:, 3] = 0.0
        return scores.log_softmax(-1), None

    given = Ends(BEGIN, END, (UNKNOWN, BEGIN), [0, 2, 5])
    assert [len(row) for row in greedy_search(never_ends, given, CPU)] == [0, 2, 5]
    found = beam_search(never_ends, given, CPU, beam_width=3, length_penalty=1.0)
    assert [len(row) for row in found] == [0, 2, 5]


def test_what_no_sentence_has_is_never_written() -> None:
    def unknown(tokens: Tensor, state: State) -> tuple[Tensor, State]:
        scores = torch.zeros(len(tokens), VOCABULARY)
        scores[:, UNKNOWN] = 50.0
        return scores.log_softmax(-1), None

    for found in (
        greedy_search(unknown, ends(2), CPU),
        beam_search(unknown, ends(2), CPU, beam_width=2, length_penalty=1.0),
    ):
        assert all(token not in (UNKNOWN, BEGIN) for row in found for token in row)


def test_longer_sentences_win_with_more_of_the_penalty() -> None:
    def step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
        scores = torch.full((len(tokens), VOCABULARY), -math.inf)
        scores[:, 3], scores[:, END] = math.log(0.6), math.log(0.4)
        return scores, None

    short, long = (
        beam_search(step, ends(1, longest=6), CPU, beam_width=8, length_penalty=penalty)[0] for penalty in (0.0, 5.0)
    )
    assert len(short) < len(long)
