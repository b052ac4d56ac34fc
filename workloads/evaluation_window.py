"""How much of a held-out stream is evaluated at a time. It bounds memory and time; results differ by rounding alone.

Pure Python: what evaluation will take is told without loading torch.
"""

from __future__ import annotations

MOST_STEPS, LEAST_STEPS = 512, 32
PAIRS, UNITS, OUTPUTS = 4096, 2**19, 2**21
"""Steps times streams, few enough for a processor's cache; these times hidden size, but on a GPU, which wants large
products; and times the network's outputs."""


def evaluation_steps(streams: int, *, hidden_size: int, output_size: int, on_gpu: bool) -> int:
    """Return the steps of a window; with enough of them a call costs little beside what it computes."""
    pairs = PAIRS if on_gpu else min(PAIRS, UNITS // hidden_size)
    steps = min(max(pairs // streams, LEAST_STEPS), MOST_STEPS)
    return max(min(steps, OUTPUTS // (streams * output_size)), 1)
