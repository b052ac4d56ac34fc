"""Generated streams that ask for memory: something is shown, and `lag` steps later the network is asked for it.

The copy and the adding problem of Hochreiter and Schmidhuber (1997), "Long short-term memory", cut into episodes that
follow one another in one carried stream. Gaps of random length stand between them, so that windows of any truncation
length fall on them in every way: a window of `lag` steps holds some questions whole, a shorter one none, ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BLANK, CUE, SYMBOLS = 0, 1, 2
"""Token numbers of the copy problem: nothing, a question, and the first of the symbols."""
NO_ANSWER = -100
"""Stands among targets where a step has no question; torch's own number for it."""


@dataclass(frozen=True, slots=True)
class Episodes:
    """The shape of an episode: `shown` steps to remember, and as many questions, the first `lag` steps on.

    The lag counts both ends, the last step shown and the first question: it is the length of the shortest window
    in which a gradient can travel from a question to what it asks for. A gap of 0 to lag - 1 steps follows.
    """

    lag: int
    shown: int
    questions: int

    def place(self, random: np.random.Generator, length: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (stream, step) of each episode's first step; every stream's last step is a question."""
        steps = self.shown + self.lag - 2 + self.questions
        count = length // steps
        gaps = random.integers(0, self.lag, (batch_size, count))
        gaps[:, 0] = 0
        first = length - np.cumsum(gaps + steps, axis=1)  # (batch, episodes), from the last to the first
        stream, episode = np.nonzero(first >= 0)
        return stream, first[stream, episode]


Generate = Callable[[np.random.Generator, int, int], tuple[np.ndarray, np.ndarray]]
"""Makes one epoch: (random, length, batch size) to inputs and targets (time, batch, ...)."""


def copy_problem(*, lag: int, symbols: int, pattern_length: int) -> Generate:
    """Return the copy problem: a pattern of symbols, blanks, then a cue for each symbol in its order.

    Inputs are token numbers, targets symbol numbers, (time, batch) int64 each.
    """
    episodes = Episodes(lag, pattern_length, pattern_length)

    def generate(random: np.random.Generator, length: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        inputs = np.full((length, batch_size), BLANK, np.int64)
        targets = np.full((length, batch_size), NO_ANSWER, np.int64)
        stream, first = episodes.place(random, length, batch_size)
        for position in range(pattern_length):
            shown = random.integers(0, symbols, len(first))
            question = first + position + lag + pattern_length - 2
            inputs[first + position, stream] = SYMBOLS + shown
            inputs[question, stream] = CUE
            targets[question, stream] = shown
        return inputs, targets

    return generate


def adding_problem(*, lag: int) -> Generate:
    """Return the adding problem: values from 0 to 1, two of them marked, then a question for the sum of these two.

    Inputs are (time, batch, 2): a value and its marker, which is 1 at the values to add and -1 at the question.
    Targets are (time, batch), NaN where a step has no question. float32.
    """
    episodes = Episodes(lag, 2, 1)

    def generate(random: np.random.Generator, length: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        inputs = np.zeros((length, batch_size, 2), np.float32)
        inputs[..., 0] = random.random((length, batch_size), np.float32)
        targets = np.full((length, batch_size), np.nan, np.float32)
        stream, first = episodes.place(random, length, batch_size)
        inputs[first, stream, 1] = inputs[first + 1, stream, 1] = 1
        question = first + lag
        inputs[question, stream, 1] = -1
        targets[question, stream] = inputs[first, stream, 0] + inputs[first + 1, stream, 0]
        return inputs, targets

    return generate


def repeat_problem(*, lag: int, shortest_lag: int, symbols: int) -> Generate:
    """Return the copy task of Aicher, Foti and Fox (2019): a pattern is shown, then to be repeated, over and over.

    A pattern of n steps begins with a cue, followed by n - 1 symbols; in the n steps behind it, which are blank, the
    answer is the pattern step by step, and while it is shown the answer is blank. n is drawn from `shortest_lag` to
    `lag`, so that n steps lie between each token and its repetition; streams begin anywhere in a pattern. Inputs and
    targets are token numbers, (time, batch) int64 each; there is an answer at every step.
    """

    def generate(random: np.random.Generator, length: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        whole = length + 2 * lag  # of it `length` steps are kept, from a random one on
        inputs = np.full((whole + 2 * lag, batch_size), BLANK, np.int64)
        targets = np.full((whole + 2 * lag, batch_size), BLANK, np.int64)
        for stream in range(batch_size):
            step = 0
            while step < whole:
                shown = int(random.integers(shortest_lag, lag + 1))
                pattern = SYMBOLS + random.integers(0, symbols, shown)
                pattern[0] = CUE
                inputs[step : step + shown, stream] = targets[step + shown : step + 2 * shown, stream] = pattern
                step += 2 * shown
        begin = random.integers(0, 2 * lag, batch_size)
        kept, streams = np.arange(length)[:, None] + begin, np.arange(batch_size)
        return inputs[kept, streams], targets[kept, streams]

    return generate


class GeneratedStream:
    """A fresh random stream in every epoch, drawn by seed and epoch alone, so that a resumed trial sees the same."""

    def __init__(self, generate: Generate, *, length: int, batch_size: int, seed: int) -> None:
        self.length, self.batch_size = length, batch_size
        self._generate, self._seed = generate, seed
        self._epoch: int | None = None
        self._inputs = self._targets = np.zeros(0)

    def window(self, epoch: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and targets (time, batch, ...) of steps `start` to `stop`."""
        if epoch != self._epoch:
            random = np.random.default_rng([self._seed, epoch])
            self._inputs, self._targets = self._generate(random, self.length, self.batch_size)
            self._epoch = epoch
        return self._inputs[start:stop], self._targets[start:stop]


class FixedStream:
    """A stream that is there already, as arrays (time, batch, ...)."""

    def __init__(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        self.length, self.batch_size = inputs.shape[:2]
        self._inputs, self._targets = inputs, targets

    def window(self, epoch: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and targets (time, batch, ...) of steps `start` to `stop`, the same in every epoch."""
        # Copies: torch wants arrays that it may write to, and those that workers share are not.
        return self._inputs[start:stop].copy(), self._targets[start:stop].copy()
