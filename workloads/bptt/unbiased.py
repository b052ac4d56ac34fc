"""Truncation at random places, compensated so that the mean gradient is that of full backpropagation through time.

Tallec and Ollivier (2017), "Unbiasing truncated backpropagation through time" (ARTBP). Between two steps the gradient
is cut with probability c and otherwise multiplied by 1 / (1 - c): its expectation is as if nothing had been cut. With
c = alpha / ((alpha - 1) L + d), d the steps since the last cut, pieces are L steps long in the mean and long ones are
rare. Here cuts may only fall between chunks of a quarter of L, since layers run as fused kernels; d and L are counted
in chunks. What unbiasedness costs is variance: the products of 1 / (1 - c).
"""

from __future__ import annotations

from workloads.bptt.chunks import Chunks
from workloads.bptt.truncation import Reach, Truncation

ALPHA = 4.0
"""How rare long pieces are: one beyond d steps has a probability that falls like d to the power of -alpha."""
CHUNKS_PER_LENGTH = 4
LONGEST_GRAPH = 2
"""Pieces longer than so many truncation lengths are run again on the way back rather than kept."""


class UnbiasedTruncation(Truncation):
    """`truncation: unbiased`."""

    def __init__(self, seed: int, *, truncation_length: int) -> None:
        super().__init__(seed)
        self.truncation_length = truncation_length
        self.size = max(round(truncation_length / CHUNKS_PER_LENGTH), 1)
        self.mean_chunks = truncation_length / self.size

    def probability(self, since: int) -> float:
        """Return the probability of a cut behind a chunk, `since` chunks having been read since the last cut."""
        return ALPHA / ((ALPHA - 1) * self.mean_chunks + since)

    def reach(self, left: int) -> Reach:
        """Read on to the next cut."""
        bounds = [0]
        passes: list[float] = []
        while True:
            bounds.append(min(bounds[-1] + self.size, left))
            cut = self.probability(len(passes) + 1)
            if bounds[-1] == left or self.random.random() < cut:
                break
            passes.append(1 / (1 - cut))
        length = bounds[-1]
        recompute = length > LONGEST_GRAPH * self.truncation_length
        chunks = Chunks(bounds, passes, recompute=recompute) if passes else None
        return Reach(length, length, chunks, usual=self.truncation_length)

    def chunks(self, length: int) -> Chunks | None:
        """Cut whole sequences at random places, all of a batch at the same."""
        if length <= self.size:
            return None
        passes, since = [], 1
        for _ in range(-(-length // self.size) - 1):
            cut = self.probability(since)
            is_cut = self.random.random() < cut
            passes.append(0.0 if is_cut else 1 / (1 - cut))
            since = 1 if is_cut else since + 1
        return Chunks.of(length, self.size, passes=passes)
