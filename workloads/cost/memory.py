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

HOLES, KEPT_FREE = 0.05, 0.6
"""What a C library's heap takes beside the blocks that it holds: holes between those of one phase, as a part of them,
and a part of another phase's, in whose places seldom any fit. Chosen by what those 50 settings of `make bench-cost`
took, and 38 others, on Linux with glibc, large blocks being held apart (`workloads.heap`); none of it is on a GPU."""
ONE_KERNEL = ("SGD", "Adam", "AdamW", "Adagrad")


def at_most(phases: Sequence[Sequence[Held]], *, on_heap: bool = True) -> float:
    """Return the most bytes that are taken through phases, each a row of moments: on a C library's heap, with holes."""
    if not on_heap:
        return max(held.total for moments in phases for held in moments)
    lingering = [max(held.lingering for held in moments) for moments in phases]
    most = 0.0
    for place, moments in enumerate(phases):
        others = max((*lingering[:place], *lingering[place + 1 :]), default=0.0)
        own = max(held.total + HOLES * held.lingering for held in moments)
        most = max(most, own + KEPT_FREE * others)
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
    looking = [*network.evaluation(on_gpu=not on_host), *network.horizon()]
    phases = [list(network.update()), looking, [step], [saving] if on_host else [Held()]]
    behind = [phases[0], *([weights.beside(held) for held in moments] for moments in phases[1:])]
    most = at_most(behind, on_heap=on_host)
    return calibration.base_bytes + cell.loaded + kept + most + (sizes.data_bytes if on_host else 0)
