"""How much data a gradient horizon is measured on, and when: enough to tell, little beside what training reads.

Pure Python: what a sweep will take is told without loading torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from workloads.hyperparameters import Hyperparameters

STEPS, LENGTHS = (64, 512), 2
"""A horizon is measured over so many truncation lengths, within these bounds in steps."""
STREAMS, PLACES = (16, 64), 2
"""It is measured on so many streams at least and at most, and at so many places where that is cheap."""
SHARE = 0.01
"""The part of the sequence steps between two measurements that it may read, the least number of streams allowing."""
LOOK_SHARE = 0.05
"""The part of the sequence steps since the look or evaluation before that a look may read."""
WARM_UP_STEPS = 64
"""Steps read before, so that the state is one that training knows."""
EVERY_STEP = 32
"""Distances up to here are all measured, those behind in ratios of 2 ** (1 / 8), about 9 %."""
KEPT_BYTES = 16 * 2**20
"""Gradients of the parameters by distance that are kept, at most; where there are more, they are made a second time."""
SEQUENCES = 8
"""The longest sequences, on which it is measured where sequences are read whole."""


def distances_within(length: int) -> list[int]:
    """Return the distances at which a window of `length` steps is measured; the last is `length`."""
    found = list(range(1, min(length, EVERY_STEP) + 1))
    while found[-1] < length:
        found.append(min(max(found[-1] + 1, round(found[-1] * 2 ** (1 / 8))), length))
    return found


def are_kept(gradient_bytes: float, pieces: int) -> bool:
    """Tell whether the gradients of all parameters are kept for each piece between two distances."""
    return gradient_bytes * pieces <= KEPT_BYTES


def horizon_steps(h: Hyperparameters) -> int:
    """Return the steps over which a horizon is measured, where the data have so many."""
    least, most = STEPS
    return min(max(LENGTHS * h.truncation_length, least), most)


def horizon_streams(h: Hyperparameters, *, steps: int, looks: int) -> tuple[int, int]:
    """Return on how many streams, and at how many places, `steps` steps are read; `looks` come beside evaluations."""
    affordable = SHARE * h.sequence_steps / (h.evaluations + looks) / steps
    least, most = STREAMS
    streams = min(max(int(affordable), least), most)
    return min(streams, h.batch_size), PLACES if affordable >= PLACES * streams else 1


def worthwhile_looks(looks: Sequence[float], *, sequence_steps: int, evaluations: int, reads: int) -> list[float]:
    """Return those of the looks, in parts of a training's steps, before which enough was trained since the last.

    Each reads `reads` steps. In a short training the first few would take as long as the updates between them, and
    where an evaluation has just come, a horizon was measured with it, or in the interval before.
    """
    found: list[float] = []
    for look in looks:
        evaluated = math.floor(look * evaluations) / evaluations
        before = max([evaluated, *found])
        if reads <= LOOK_SHARE * (look - before) * sequence_steps:
            found.append(look)
    return found
