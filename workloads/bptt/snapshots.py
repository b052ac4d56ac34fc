"""States kept on the way forward, from which those between are computed again on the way back.

With as many snapshots as chunks no state is computed again. With fewer, where to take them is the question of
reversing a chain: Griewank and Walther (2000), "Algorithm 799: revolve". Their schedule is the optimum that Gruslys et
al. (2016), "Memory-efficient backpropagation through time", find by dynamic programming where hidden states are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from workloads.bptt.state import State


def next_snapshot(chunks: int, snapshots: int) -> int:
    """Return after how many of `chunks`, whose first state is kept, to take the next of `snapshots`.

    With s states kept, the first among them, and each chunk run forward r times at most, binomial(s + r, s) chunks can
    be reversed; the split leaves to both sides what they can do with their states and passes, and not less than they
    could do with one pass fewer (Griewank and Walther, 2000).
    """
    states, repeats = snapshots + 1, 1
    while math.comb(states + repeats, states) < chunks:
        repeats += 1
    behind = math.comb(states - 1 + repeats, states - 1)
    return max(math.comb(states + repeats - 2, states), chunks - behind, 1)


class Snapshots:
    """The states before some of the chunks of one sequence, at most so many at once beside the first."""

    def __init__(self, chunks: int, limit: int | None) -> None:
        self.free = chunks if limit is None else limit
        self.kept: dict[int, State] = {}
        self._planned = self._plan(0, chunks)

    def _plan(self, first: int, stop: int) -> set[int]:
        """Choose where to take snapshots between chunk `first`, whose state is known, and `stop`."""
        planned, free = set(), self.free
        if free >= stop - first - 1:
            return set(range(first + 1, stop))
        while free and stop - first > 1:
            first += next_snapshot(stop - first, free)
            planned.add(first)
            free -= 1
        return planned

    def offer(self, chunk: int, state: State) -> None:
        """Keep the state before `chunk` if it is one of those to keep."""
        if chunk == 0:
            self.kept[0] = state
        elif chunk in self._planned and chunk not in self.kept:
            self.kept[chunk] = state
            self.free -= 1

    def before(self, chunk: int, run: Callable[[int, State], State], *, keep: bool = False) -> State:
        """Return the state before `chunk`, asked for from the last chunk to the first.

        `run(chunk, state)` returns the state behind a chunk. The state is let go of unless it is to be kept, since none
        behind it will be asked for again.
        """
        first = max(number for number in self.kept if number <= chunk)
        if first < chunk:
            self._planned = self._plan(first, chunk + 1)
            state = self.kept[first]
            for number in range(first, chunk):
                state = run(number, state)
                self.offer(number + 1, state)
        if chunk not in self.kept:
            return state
        state = self.kept[chunk]
        if not keep and chunk:
            del self.kept[chunk]
            self.free += 1
        return state
