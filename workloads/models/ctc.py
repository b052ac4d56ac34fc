"""Connectionist temporal classification: reading a text from a probability of each symbol at each step.

Graves et al. (2006), "Connectionist temporal classification: labelling unsegmented sequence data with recurrent neural
networks". Symbol 0 is the blank.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

BLANK = 0
PRUNED = -12.0
"""Symbols whose log probability at a step is below this do not begin a new prefix there."""


def ctc_loss(logits: Tensor, tokens: Tensor, *, steps: Tensor, token_counts: Tensor) -> Tensor:
    """Return the summed negative log likelihood in nats of all alignments.

    Logits are (time, batch, symbols), tokens (all tokens of the batch behind one another,), steps and token_counts
    (batch,).
    """
    log_probabilities = functional.log_softmax(logits, -1)
    return functional.ctc_loss(log_probabilities, tokens, steps, token_counts, blank=BLANK, reduction="sum")


def decode_greedily(logits: Tensor, steps: Sequence[int]) -> list[list[int]]:
    """Return the tokens of the likeliest alignment of each utterance; logits are (time, batch, symbols)."""
    best = logits.argmax(-1).cpu().numpy()  # (time, batch)
    found = []
    for place, count in enumerate(steps):
        path = best[:count, place]
        changes = np.flatnonzero(np.append(True, path[1:] != path[:-1]))
        found.append([int(symbol) for symbol in path[changes] if symbol != BLANK])
    return found


def decode_by_beam(log_probabilities: np.ndarray, beam_width: int) -> list[int]:
    """Return the likeliest tokens of one utterance by prefix beam search; log_probabilities are (time, symbols).

    The alignments of one text are added up, which greedy decoding does not do. Hannun et al. (2014), "First-pass large
    vocabulary continuous speech recognition using bi-directional recurrent DNNs", without a language model.
    """
    # Each prefix has two log probabilities: of alignments that end in a blank, and in its last symbol.
    beams: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    for step in log_probabilities:
        candidates = [int(symbol) for symbol in np.flatnonzero(step > PRUNED) if symbol != BLANK]
        following: defaultdict[tuple[int, ...], list[float]] = defaultdict(lambda: [-math.inf, -math.inf])
        for prefix, (blank, symbol_last) in beams.items():
            total = _add(blank, symbol_last)
            same = following[prefix]
            same[0] = _add(same[0], total + float(step[BLANK]))
            if prefix:
                same[1] = _add(same[1], symbol_last + float(step[prefix[-1]]))
            for symbol in candidates:
                longer = following[(*prefix, symbol)]
                # A symbol that follows itself is a new one only behind a blank.
                before = blank if prefix and prefix[-1] == symbol else total
                longer[1] = _add(longer[1], before + float(step[symbol]))
        ranked = sorted(following.items(), key=lambda entry: _add(*entry[1]), reverse=True)
        beams = {prefix: (scores[0], scores[1]) for prefix, scores in ranked[:beam_width]}
    return list(next(iter(beams)))


def _add(first: float, second: float) -> float:
    """Return log(exp(first) + exp(second))."""
    if first < second:
        first, second = second, first
    return first if second == -math.inf else first + math.log1p(math.exp(second - first))


def best_texts(logits: Tensor, steps: Sequence[int], beam_width: int) -> list[list[int]]:
    """Return the tokens of each utterance, greedily where the beam is 1 wide; logits are (time, batch, symbols)."""
    if beam_width == 1:
        return decode_greedily(logits, steps)
    log_probabilities = torch.log_softmax(logits.double(), -1).cpu().numpy()
    return [decode_by_beam(log_probabilities[:count, place], beam_width) for place, count in enumerate(steps)]
