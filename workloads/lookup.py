"""Which embedded inputs are looked up as what they give a layer's gates (`workloads.models.cells.classical`).

Pure Python: what training will take is told without loading torch.
"""

from __future__ import annotations

CELL_TYPES = ("rnn", "rnn_relu", "gru", "lstm")
"""With a kernel that does."""


def is_looked_up(vocabulary: int, pairs: float) -> bool:
    """Tell whether a product for each vector of an embedding costs less than one for each step of each stream."""
    return 2 * vocabulary <= pairs
