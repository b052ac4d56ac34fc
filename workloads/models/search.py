"""Finding the best sentence that a decoder can write: greedily, or with a beam."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from workloads.bptt.state import State, map_state

Step = Callable[[Tensor, State], tuple[Tensor, State]]
"""Maps the last tokens (rows,) and the state to log-probabilities (rows, vocabulary) and the state behind them."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The tokens that begin and end a sentence, those that no sentence has, and the longest that each may become."""

    begin: int
    end: int
    never: tuple[int, ...]
    longest: Sequence[int]
    """Tokens of each sentence, the end not counted, (batch,)."""


def greedy_search(step: Step, ends: Ends, device: torch.device) -> list[list[int]]:
    """Return the sentence of each row that takes the likeliest token every time, without its end."""
    batch = len(ends.longest)
    longest = torch.tensor(list(ends.longest), device=device)
    tokens = torch.full((batch,), ends.begin, device=device)
    done = longest == 0
    state: State = None
    made: list[Tensor] = []
    while not bool(done.all()):
        scores, state = step(tokens, state)
        scores[:, list(ends.never)] = -math.inf
        tokens = torch.where(done, ends.end, scores.argmax(-1))
        made.append(tokens)
        done = done | (tokens == ends.end) | (longest <= len(made))
    rows = torch.stack(made, 1).tolist() if made else [[] for _ in range(batch)]
    return [_until(row, ends.end) for row in rows]


def _until(row: list[int], end: int) -> list[int]:
    return row[: row.index(end)] if end in row else row


@dataclass(slots=True)
class _Finished:
    """The best sentence found so far in one row, and how many were."""

    best: list[int] = field(default_factory=list)
    score: float = -math.inf
    count: int = 0

    def add(self, tokens: list[int], score: float) -> None:
        self.count += 1
        if score > self.score:
            self.best, self.score = tokens, score


def beam_search(
    step: Step, ends: Ends, device: torch.device, *, beam_width: int, length_penalty: float
) -> list[list[int]]:
    """Return the best sentence of each row that a beam of `beam_width` unfinished ones finds, without its end.

    `step` is asked for rows * beam_width sentences. The log-probability of a sentence is divided by
    ((5 + tokens) / 6) ** length_penalty, its end counted as a token (Wu et al., 2016, "Google's neural machine
    translation system"); 0 prefers short ones. A row is done once it has beam_width sentences finished; one that grows
    too long is ended as it is. Rows do not depend on one another.
    """
    batch, width = len(ends.longest), beam_width
    found = [_Finished() for _ in range(batch)]
    first = torch.arange(batch, device=device)[:, None] * width  # (batch, 1)
    total = torch.full((batch, width), -math.inf, device=device)
    total[:, 0] = 0.0  # all but one of the equal beginnings
    tokens = torch.full((batch * width,), ends.begin, device=device)
    written = torch.zeros((batch * width, 0), dtype=torch.int64, device=device)
    state: State = None
    for length in range(max(ends.longest, default=0) + 1):
        scores, state = step(tokens, state)
        scores[:, list(ends.never)] = -math.inf
        size = scores.shape[1]
        scores = (total.reshape(-1, 1) + scores).reshape(batch, width, size)
        divisor = ((5 + length + 1) / 6) ** length_penalty
        _end_the_longest(found, ends, length, scores=scores, written=written, divisor=divisor)
        # Twice as many as the beam has: however many of them end, enough go on.
        best, places = scores.reshape(batch, -1).topk(min(2 * width, width * size), dim=1)  # (batch, candidates)
        parents, chosen = first + places // size, places % size
        ending = chosen == ends.end
        for row, rank in ((ending[:, :width]) & best[:, :width].isfinite()).nonzero().tolist():
            if found[row].count < width and length < ends.longest[row]:
                found[row].add(written[parents[row, rank]].tolist(), float(best[row, rank]) / divisor)
        if all(each.count >= width or length >= longest for each, longest in zip(found, ends.longest, strict=True)):
            break
        best = best.masked_fill(ending, -math.inf)
        total, order = best.topk(min(width, best.shape[1]), dim=1)
        if order.shape[1] < width:
            order, total = _widened(order, total, width)
        rows = parents.gather(1, order).flatten()
        tokens = chosen.gather(1, order).flatten()
        written = torch.cat([written[rows], tokens[:, None]], dim=1)
        state = map_state(lambda part, rows=rows: _reordered(part, rows), state)  # type: ignore[misc]
    return [each.best for each in found]


def _end_the_longest(
    found: Sequence[_Finished], ends: Ends, length: int, *, scores: Tensor, written: Tensor, divisor: float
) -> None:
    """End the sentences of rows that may not become longer; `scores` is (batch, width, vocabulary)."""
    width = scores.shape[1]
    for row, longest in enumerate(ends.longest):
        if length == longest and found[row].count < width:
            for place, score in enumerate(scores[row, :, ends.end].tolist()):
                if math.isfinite(score):
                    found[row].add(written[row * width + place].tolist(), score / divisor)


def _widened(order: Tensor, total: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Fill a beam that is wider than the vocabulary has candidates for, with sentences that cannot win."""
    missing = width - order.shape[1]
    impossible = total.new_full((len(total), missing), -math.inf)
    return torch.cat([order, order[:, :1].expand(-1, missing)], 1), torch.cat([total, impossible], 1)


def _reordered(part: Tensor, rows: Tensor) -> Tensor:
    """Take rows of a state's tensor: torch's cells keep them on axis 1, a user's own perhaps on axis 0."""
    for axis in (1, 0):
        if part.dim() > axis and part.shape[axis] == len(rows):
            return part.index_select(axis, rows)
    return part
