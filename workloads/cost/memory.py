"""Peak memory of a trial, from its hyperparameters, the sizes of its data, and what was measured of its cell type.

What a cell keeps of a window for the way back grows linearly in steps, batch and widths, whatever the cell does inside,
so a few small windows tell of the large ones. The rest is counted: weights, gradients, the optimiser's state, the
output layer with its loss (most of it where the vocabulary is large), evaluation, and the copy that a checkpoint is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workloads.cost.cells import Calibration
from workloads.cost.networks import NUMBER, Held, network_of
from workloads.cost.sizes import Sizes
from workloads.heap import LARGE_BLOCK
from workloads.hyperparameters import Hyperparameters

CHECKPOINT_COPIES = 1.25
"""Of weights and optimiser's state: the buffer that they are written into, which grows by an eighth at a time."""
STATES = {"SGD": 0, "Adam": 2, "AdamW": 2, "NAdam": 2, "RAdam": 2, "RMSprop": 1, "Adagrad": 1, "Adadelta": 2}
"""Numbers that an optimiser keeps for each weight; with momentum SGD and RMSprop keep one more."""


@dataclass(frozen=True, slots=True)
class Heap:
    """What a C library's heap takes beside the blocks that it holds."""

    large: float
    """Bytes from which a block is held apart and given back at once."""
    holes: float
    """Between the blocks of one phase, as a part of them."""
    kept_free: float
    """The part of another phase's blocks in whose places seldom any fit."""
    shared: float = 0.0
    """Bytes where updates hold blocks of 2 MB and more on it: torch asks for huge pages for them, and what lies beside
    is in those too. By chance it is none or 50 MB."""


APART = Heap(LARGE_BLOCK, holes=0.05, kept_free=0.6, shared=20e6)
"""Large tensors being held apart (`workloads.heap`), by what 88 settings took on Linux with glibc: the 50 of
`make bench-cost` among them; `shared` by these and half of `tests.benchmarks.cost 5`."""
AS_IT_IS = Heap(2.0**25, holes=0.4, kept_free=0.6)
"""Where the C library is left to itself, by what 150 settings took."""
NO_HEAP = Heap(0.0, holes=0.0, kept_free=0.0)
"""On a GPU."""
HUGE_PAGE = 2.0**21
ONE_KERNEL = ("SGD", "Adam", "AdamW", "Adagrad")


def at_most(phases: Sequence[Sequence[Held]], heap: Heap) -> float:
    """Return the most bytes that are taken through phases, each a row of moments."""
    lingering = [max(held.lingering(heap.large) for held in moments) for moments in phases]
    most = 0.0
    for place, moments in enumerate(phases):
        others = max((*lingering[:place], *lingering[place + 1 :]), default=0.0)
        own = max(held.total + heap.holes * held.lingering(heap.large) for held in moments)
        most = max(most, own + heap.kept_free * others)
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
    updates = list(network.update())
    phases = [updates, looking, [step], [saving] if on_host else [Held()]]
    behind = [phases[0], *([weights.beside(held) for held in moments] for moments in phases[1:])]
    heap = (APART if calibration.is_apart else AS_IT_IS) if on_host else NO_HEAP
    most = at_most(behind, heap) + heap.shared * any(held.has_block(HUGE_PAGE, heap.large) for held in updates)
    room = cell.room_for(max(layer.weights for layer in network.layers))
    return calibration.base_bytes + cell.loaded + room + kept + most + (sizes.data_bytes if on_host else 0)
