"""Peak memory of a trial, from its hyperparameters, the sizes of its data, and what was measured of its cell type.

What a cell keeps of a window for the way back grows linearly in steps, batch and widths, whatever the cell does inside, so
a few small windows tell of the large ones. The rest is counted: weights, gradients, the optimiser's state, the output
layer with its loss (most of it where the vocabulary is large), evaluation, and the copies that a checkpoint is made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workloads.cost.sizes import Sizes
from workloads.hyperparameters import Hyperparameters

NUMBER = 4
"""Bytes of a number in fp32. Under bf16 the weights are still in it, and what is kept of a window is counted as in it."""
WINDOW_BYTES = 64
"""For each step and stream: token numbers as they are read, gathered and turned round."""
EVALUATION_STEPS, EVALUATION_OUTPUTS = 512, 2**22
"""Steps that evaluation reads at a time, and numbers that it makes of them: CHUNK_STEPS and CHUNK_OUTPUTS there."""
CHECKPOINT_COPIES = 2.25
"""Of weights and optimiser's state: in the buffer, which grows by an eighth at a time, and as bytes."""
CHUNK_NUMBERS = 2**24
"""The widest tensor of a translator's attention and output layer: `workloads.models.translator.CHUNK_NUMBERS`."""
CHUNK_COPIES = 6
STATES = {"SGD": 0, "Adam": 2, "AdamW": 2, "NAdam": 2, "RAdam": 2, "RMSprop": 1, "Adagrad": 1, "Adadelta": 2}
"""Numbers that an optimiser keeps for each weight; with momentum SGD and RMSprop keep one more."""

ONE_KERNEL = ("SGD", "Adam", "AdamW", "Adagrad")
LARGE_BLOCK, KEPT_FREE = 2.0**25, 2.0**26
"""Bytes from which the C library holds a block apart, and of free small ones that it may keep."""

Line = tuple[float, float, float, float, float]
"""Bytes once for each weight; for each step; for each step and stream, and that times input and times hidden size."""


@dataclass(frozen=True, slots=True)
class CellMemory:
    """Bytes that one layer of a cell type takes; see `Line`."""

    weights: tuple[float, float, float, float, float]
    """Weights as a + b * input + c * hidden + d * input * hidden + e * hidden ** 2."""
    kept: Line
    """Behind the forward pass, for the way back."""
    forward: Line
    """At most during the forward pass."""
    backward: Line
    """At most on the way back, what was kept and the gradients of weights and inputs counted."""
    inference: Line
    """At most during a forward pass that keeps nothing."""

    def count(self, input_size: int, hidden_size: int) -> float:
        """Return the number of weights."""
        of = (1, input_size, hidden_size, input_size * hidden_size, hidden_size**2)
        return sum(each * size for each, size in zip(self.weights, of, strict=True))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured on one machine, of a process like a worker's."""

    device: str
    """`cpu`, or a GPU's name."""
    base_bytes: float
    """What a process has that has trained something tiny."""
    cells: Mapping[str, CellMemory] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return plain values, to be stored."""
        names = CellMemory.__slots__
        cells = {cell: {name: list(getattr(of, name)) for name in names} for cell, of in self.cells.items()}
        return {"device": self.device, "base_bytes": self.base_bytes, "cells": cells}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Calibration:
        """Return what `plain` wrote."""
        cells = {
            cell: CellMemory(**{name: tuple(line) for name, line in of.items()}) for cell, of in plain["cells"].items()
        }
        return cls(plain["device"], plain["base_bytes"], cells)


@dataclass(frozen=True, slots=True)
class Layer:
    """One recurrent layer of a trial's network over one window."""

    cell: CellMemory
    input_size: int
    hidden_size: int

    @property
    def weights(self) -> float:
        """Return the number of weights."""
        return self.cell.count(self.input_size, self.hidden_size)

    def bytes(self, phase: str, steps: int, batch: int) -> float:
        """Return what the layer takes in a phase: the name of a field of CellMemory."""
        once, step, both, by_input, by_hidden = getattr(self.cell, phase)
        per_step = both + by_input * self.input_size + by_hidden * self.hidden_size
        return float(once * self.weights + steps * (step + batch * per_step))


@dataclass(slots=True)
class Held:
    """Bytes held at one moment, by the size of their blocks.

    A C library keeps blocks below 32 MB on a heap that it gives back late, and the larger ones apart (mallopt(3),
    M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, both as they grow by themselves).
    """

    small: float = 0.0
    large: float = 0.0

    def add(self, block: float, times: float = 1.0) -> Held:
        """Hold a block, or several alike, too."""
        if block < LARGE_BLOCK:
            self.small += block * times
        else:
            self.large += block * times
        return self

    def beside(self, other: Held) -> Held:
        """Return both together."""
        return Held(self.small + other.small, self.large + other.large)


def at_most(phases: Sequence[Sequence[Held]], kept_free: float = KEPT_FREE) -> float:
    """Return the most bytes that are held through phases, each a row of moments.

    Small blocks of one phase seldom fit where those of another were: up to `kept_free` bytes stay between them.
    """
    small = [max(held.small for held in moments) for moments in phases]
    most = 0.0
    for place, moments in enumerate(phases):
        others = max((*small[:place], *small[place + 1 :]), default=0.0)
        most = max(most, *(held.large + held.small + min(others, kept_free) for held in moments))
    return most


def peak_memory(h: Hyperparameters, sizes: Sizes, calibration: Calibration) -> float:
    """Return the bytes that training takes at most: of the process on a CPU, of the device's memory on a GPU.

    Of whole sequences it is an upper bound. Raises KeyError where the cell type was not measured.
    """
    cell = calibration.cells[h.cell_type]
    network = _Sequences(h, sizes, cell) if sizes.longest else _Stream(h, sizes, cell)
    weights = Held()
    for count in network.blocks:
        weights.add(NUMBER * count)
    total = weights.small + weights.large
    kept = total * (1 + STATES[h.optimizer] + (h.momentum > 0 and h.optimizer in ("SGD", "RMSprop")))
    # Optimisers that torch has not as one kernel take temporaries of the largest weight's size.
    step = Held().add(0.0 if h.optimizer in ONE_KERNEL else NUMBER * max(network.blocks), 2)
    saving = Held().add(kept, CHECKPOINT_COPIES)
    on_host = calibration.device == "cpu"
    phases = [list(network.update()), [network.evaluation()], [step], [saving] if on_host else [Held()]]
    behind = [phases[0], *([weights.beside(held) for held in moments] for moments in phases[1:])]
    most = at_most(behind, KEPT_FREE if on_host else 0.0)
    return calibration.base_bytes + kept + most + (sizes.data_bytes if on_host else 0)


def longest_window(h: Hyperparameters) -> int:
    """Return the steps of the longest window, whatever scheme cuts it."""
    # Random windows are drawn by their mean; one in a thousand is seven times as long.
    return h.truncation_length * (7 if getattr(h, "truncation", "fixed") in ("random", "unbiased") else 1)


class _Stream:
    """`workloads.models.recurrent.RecurrentNetwork` over windows of a carried stream."""

    def __init__(self, h: Hyperparameters, sizes: Sizes, cell: CellMemory) -> None:
        self.h, self.sizes = h, sizes
        embedded = (h.embedding_size or h.hidden_size) if sizes.vocabulary_size else (sizes.input_size or 1)
        widths = [embedded] + [h.hidden_size] * (h.num_layers - 1)
        self.layers = [Layer(cell, width, h.hidden_size) for width in widths]
        self.embedded = embedded
        self.steps = sizes.window(longest_window(h), h.batch_size)
        self.head = (h.hidden_size + 1.0) * sizes.output_size
        self.blocks = [
            float((sizes.vocabulary_size or 0) * embedded),
            *(layer.weights + 2 * h.hidden_size * h.layer_norm for layer in self.layers),
            self.head,
        ]

    def update(self) -> Iterator[Held]:
        """Walk through the moments of an update at which most is held, its gradients included."""
        steps, batch, h = self.steps, self.h.batch_size, self.h
        pairs = steps * batch
        outputs = NUMBER * pairs * self.sizes.output_size
        # A normalised output is kept beside the output itself, and dropout keeps the product and a mask.
        beside, besides = NUMBER * pairs * h.hidden_size, h.layer_norm + 2 * (h.dropout > 0)

        def behind(layers: int) -> Held:
            held = Held().add(NUMBER * pairs * self.embedded).add(pairs * WINDOW_BYTES)
            for layer in self.layers[:layers]:
                held.add(layer.bytes("kept", steps, batch)).add(beside, besides)
            return held

        yield behind(len(self.layers)).add(outputs, self.sizes.loss_copies)
        for place, layer in reversed(list(enumerate(self.layers))):
            held = behind(place).add(layer.bytes("backward", steps, batch)).add(beside, besides)
            for above in self.blocks[place + 2 :]:
                held.add(NUMBER * above)
            yield held.add(outputs)

    def evaluation(self) -> Held:
        """Return what a pass over held-out data adds at most."""
        sizes = self.sizes
        fitting = EVALUATION_OUTPUTS // (sizes.evaluation_streams * sizes.output_size)
        steps = max(min(sizes.evaluation_steps, EVALUATION_STEPS, fitting), 1)
        pairs = steps * sizes.evaluation_streams
        held = Held().add(pairs * (NUMBER * (self.embedded + self.h.hidden_size) + WINDOW_BYTES))
        held.add(max(layer.bytes("inference", steps, sizes.evaluation_streams) for layer in self.layers))
        return held.add(NUMBER * pairs * sizes.output_size, 3).add(sizes.evaluation_bytes)


class _Sequences:
    """`workloads.models.encoder.Encoder` over whole sequences, and what stands on it: from above."""

    def __init__(self, h: Hyperparameters, sizes: Sizes, cell: CellMemory) -> None:
        self.h, self.sizes = h, sizes
        hidden = h.hidden_size
        embedded = (h.embedding_size or hidden) if sizes.vocabulary_size else (sizes.input_size or 1)
        ways = 2 if h.bidirectional else 1
        widths = [embedded] + [ways * hidden] * (h.num_layers - 1)
        self.encoder = [Layer(cell, width, hidden) for width in widths]
        self.decoder = [Layer(cell, width, hidden) for width in [embedded] + [hidden] * (h.num_layers - 1)]
        self.embedded, self.ways = embedded, ways
        norms = 2 * hidden * h.layer_norm
        self.blocks = [layer.weights + norms for layer in self.encoder * ways]
        if self.translates:
            self.blocks += [layer.weights + norms for layer in self.decoder]
            self.blocks += [float((sizes.vocabulary_size or 0) * embedded), (hidden + 1.0) * sizes.output_size]
            self.blocks += [float(ways * hidden * (embedded + 2 * hidden) + 2 * hidden**2 + 4 * hidden + embedded)]
        else:
            self.blocks += [(ways * hidden + 1.0) * sizes.output_size]

    @property
    def translates(self) -> bool:
        """Tell whether there is a target beside the source."""
        return len(self.sizes.longest) > 1

    def update(self) -> Iterator[Held]:
        """Give what the batch of the longest sequences adds at most, gradients included."""
        held = self._batch(self.h.batch_size, "backward")
        for block in self.blocks:
            held.add(NUMBER * block)
        yield held

    def evaluation(self) -> Held:
        """Return what a batch of held-out sequences adds at most, taken to be no longer than those of training."""
        return self._batch(64 if self.translates else 16, "inference")

    def _batch(self, batch: int, phase: str) -> Held:
        hidden, outputs = self.h.hidden_size, self.sizes.output_size
        source, *target = self.sizes.longest
        # Inputs, outputs and the gradients of both, of every layer in both directions; else of the whole stack.
        stacks = len(self.encoder) if self.ways == 2 else 1
        held = Held().add(source * batch * (NUMBER * self.embedded + WINDOW_BYTES), 2)
        held.add(NUMBER * source * batch * self.ways * hidden, 4 * stacks)
        window = self._window(self.encoder[:1] if self.ways == 2 else self.encoder, source, batch, phase=phase)
        if not target:
            return held.add(NUMBER * source * batch * outputs, 6).add(window)
        held.add(NUMBER * source * batch * hidden, 4 * (self.ways + 1))
        held.add(target[0] * batch * (NUMBER * (self.embedded + 4 * hidden) + WINDOW_BYTES), 2)
        widest = max(source * batch * hidden, batch * outputs)
        held.add(NUMBER * min(widest * target[0], max(CHUNK_NUMBERS, widest)), CHUNK_COPIES)
        return held.add(max(window, self._window(self.decoder, target[0], batch, phase=phase)))

    def _window(self, layers: list[Layer], length: int, batch: int, *, phase: str) -> float:
        """Return what the graph of one chunk takes: all layers of a stack are run together."""
        if phase == "inference":
            return max(layer.bytes(phase, length, batch) for layer in layers)
        steps = min(longest_window(self.h), length)
        beside = steps * batch * NUMBER * self.h.hidden_size * (self.h.layer_norm + 2 * (self.h.dropout > 0))
        return sum(layer.bytes(phase, steps, batch) + beside for layer in layers)
