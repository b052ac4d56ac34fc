"""Peak memory of a trial, from its hyperparameters, the sizes of its data, and what was measured of its cell type.

What a cell keeps of a window for the way back grows linearly in steps, batch and widths, whatever the cell does inside,
so a few small windows tell of the large ones. The rest is counted: weights, gradients, the optimiser's state, the
output layer with its loss (most of it where the vocabulary is large), evaluation, and the copy that a checkpoint is.
"""

from __future__ import annotations

from collections.abc import Sequence

from workloads.cost.cells import Calibration
from workloads.cost.networks import NUMBER, Held, network_of
from workloads.cost.sizes import Sizes
from workloads.hyperparameters import Hyperparameters

CHECKPOINT_COPIES = 1.25
"""Of weights and optimiser's state: the buffer that they are written into, which grows by an eighth at a time."""
STATES = {"SGD": 0, "Adam": 2, "AdamW": 2, "NAdam": 2, "RAdam": 2, "RMSprop": 1, "Adagrad": 1, "Adadelta": 2}
"""Numbers that an optimiser keeps for each weight; with momentum SGD and RMSprop keep one more."""

KEPT_FREE = 2.0**26
"""Bytes of free small blocks that the C library may keep."""
ONE_KERNEL = ("SGD", "Adam", "AdamW", "Adagrad")


def at_most(phases: Sequence[Sequence[Held]], kept_free: float = KEPT_FREE) -> float:
    """Return the most bytes that are held through phases, each a row of moments.

    Blocks of one phase seldom fit where small ones of another were: up to `kept_free` bytes stay between them.
    """
    lingering = [max(held.lingering for held in moments) for moments in phases]
    most = 0.0
    for place, moments in enumerate(phases):
        others = max((*lingering[:place], *lingering[place + 1 :]), default=0.0)
        most = max(most, max(held.total for held in moments) + min(others, kept_free))
    return most


def peak_memory(h: Hyperparameters, sizes: Sizes, calibration: Calibration) -> float:
    """Return the bytes that training takes at most: of the process on a CPU, of the device's memory on a GPU.

    Of whole sequences it is rough. Raises KeyError where the cell type was not measured.
    """
    cell = calibration.cells[h.cell_type]
    network = network_of(h, sizes, cell)
    weights = Held()
    for count in network.blocks:
        weights.add(NUMBER * count)
    kept = weights.total * (1 + STATES[h.optimizer] + (h.momentum > 0 and h.optimizer in ("SGD", "RMSprop")))
    # Optimisers that torch has not as one kernel take temporaries of the largest weight's size.
    step = Held().add(0.0 if h.optimizer in ONE_KERNEL else NUMBER * max(network.blocks), 2)
    saving = Held().add(kept, CHECKPOINT_COPIES)
    on_host = calibration.device == "cpu"
    looking = [*network.evaluation(), network.horizon()]
    phases = [list(network.update()), looking, [step], [saving] if on_host else [Held()]]
    behind = [phases[0], *([weights.beside(held) for held in moments] for moments in phases[1:])]
    most = at_most(behind, KEPT_FREE if on_host else 0.0)
    return calibration.base_bytes + cell.loaded + kept + most + (sizes.data_bytes if on_host else 0)
