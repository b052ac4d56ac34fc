"""The networks that workloads train, as far as memory goes: their weights, and what is held when most is held.

Two shapes: windows of a carried stream (`workloads.models.recurrent`), and whole sequences
(`workloads.models.encoder`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from workloads.cost.cells import CellMemory, Layer
from workloads.cost.sizes import Sizes
from workloads.evaluation_window import evaluation_steps
from workloads.horizon_window import (
    KEPT_BYTES,
    SEQUENCES,
    WARM_UP_STEPS,
    distances_within,
    horizon_steps,
    horizon_streams,
)
from workloads.hyperparameters import Hyperparameters
from workloads.lookup import CELL_TYPES, is_looked_up

NUMBER = 4
"""Bytes of a number in fp32. Under bf16 weights are still in it; what is kept of a window is counted as if it were."""
WINDOW_BYTES = 64
"""For each step and stream: token numbers as they are read, gathered and turned round."""
CHUNK_NUMBERS = 2**24
"""The widest tensor of a translator's attention and output layer: `workloads.models.translator.CHUNK_NUMBERS`."""
CHUNK_COPIES = 6
LOOKS = 6
"""Horizons that training measures beside those of evaluations; under truncation: adaptive more, on fewer streams."""
MOST_KERNELS, KERNEL_BYTES = 1024, 2e5
"""Kernels that oneDNN makes for windows of another length each, and keeps; and what one takes."""


@dataclass(slots=True)
class Held:
    """Bytes held at one moment, in blocks."""

    total: float = 0.0
    blocks: list[tuple[float, float]] = field(default_factory=list)
    """Bytes of a block, and how many there are; those so small that they fit in anywhere left out."""

    def add(self, block: float, times: float = 1.0) -> Held:
        """Hold a block, or several alike, too."""
        self.total += block * times
        self.blocks.append((block, times))
        return self

    def add_steps(self, size: float) -> Held:
        """Hold what a cell keeps of each step, too: blocks so small that they fit in anywhere afterwards."""
        self.total += size
        return self

    def beside(self, other: Held) -> Held:
        """Return both together."""
        return Held(self.total + other.total, [*self.blocks, *other.blocks])

    def has_block(self, least: float, below: float) -> bool:
        """Tell whether a block has `least` bytes or more, but fewer than `below`."""
        return any(times and least <= block < below for block, times in self.blocks)

    def lingering(self, large: float) -> float:
        """Return what may still be on a C library's heap afterwards, blocks of `large` bytes and more being held apart.

        Of a larger block it is as much as of the largest small one.
        """
        return sum(min(block, large) * times for block, times in self.blocks)


def network_of(h: Hyperparameters, sizes: Sizes, cell: CellMemory) -> StreamNetwork | SequenceNetwork:
    """Return the network that a setting trains, as far as memory goes."""
    return SequenceNetwork(h, sizes, cell) if sizes.longest else StreamNetwork(h, sizes, cell)


def longest_window(h: Hyperparameters) -> int:
    """Return the steps of the longest window, whatever scheme cuts it."""
    # Random windows are drawn by their mean; one in a thousand is seven times as long.
    return h.truncation_length * (7 if h.truncation in ("random", "unbiased") else 1)


class StreamNetwork:
    """`workloads.models.recurrent.RecurrentNetwork` over windows of a carried stream."""

    def __init__(self, h: Hyperparameters, sizes: Sizes, cell: CellMemory) -> None:
        self.h, self.sizes = h, sizes
        embedded = (h.embedding_size or h.hidden_size) if sizes.vocabulary_size else (sizes.input_size or 1)
        widths = [embedded] + [h.hidden_size] * (h.num_layers - 1)
        self.layers = [Layer(cell, width, h.hidden_size) for width in widths]
        self.embedded = embedded
        self.may_look_up = any(cell.room) and h.cell_type in CELL_TYPES
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

        read = self._read(pairs)

        def behind(layers: int) -> Held:
            held = Held().add(read).add(pairs * WINDOW_BYTES)
            for layer in self.layers[:layers]:
                held.add_steps(layer.bytes("kept", steps, batch)).add(beside, besides)
            return held

        yield behind(len(self.layers)).add(outputs, self.sizes.loss_copies)
        for place, layer in reversed(list(enumerate(self.layers))):
            held = behind(place).add_steps(layer.bytes("backward", steps, batch)).add(beside, besides)
            for above in self.blocks[place + 2 :]:
                held.add(NUMBER * above)
            if not place:  # a table's gradient is no larger than itself, one of vectors is counted as the cell's
                held.add_steps(read - NUMBER * pairs * self.embedded)
            yield held.add(outputs)

    def _read(self, pairs: float) -> float:
        """Return the bytes of what the first layer reads: vectors, or what each of a vocabulary gives its gates."""
        vocabulary = self.sizes.vocabulary_size
        if not vocabulary or not self.may_look_up or not is_looked_up(vocabulary, pairs):
            return NUMBER * pairs * self.embedded
        gates = self.layers[0].weights / (self.embedded + self.h.hidden_size)  # and biases, which are few
        return NUMBER * vocabulary * gates

    def horizon(self) -> Iterator[Held]:
        """Walk through the moments of measuring a horizon: its warm-up, and its graph with gradients twice and more."""
        steps = self.sizes.window(horizon_steps(self.h), self.h.batch_size)
        streams, _ = horizon_streams(self.h, steps=steps, looks=LOOKS)
        pieces = [after - before for before, after in pairwise([0, *distances_within(steps)])]
        outputs = NUMBER * streams * self.sizes.output_size
        yield Held().add(outputs * WARM_UP_STEPS)
        held = Held().add(steps * streams * WINDOW_BYTES).add(NUMBER * streams * self.embedded, steps)
        for layer in self.layers:
            held.add_steps(layer.pieces(pieces, streams))
        held.add(outputs, max(pieces))
        for block in self.blocks[:-1]:
            held.add(NUMBER * block, 2)
        # Where there are too many to be kept, they are counted all the same: no larger network is to take less.
        held.add_steps(min(NUMBER * sum(self.blocks[:-1]) * len(pieces), KEPT_BYTES))
        # While a layer's gradients are computed, there may be more than what comes of it.
        passing = (layer.bytes("backward", 1, streams) - NUMBER * layer.weights for layer in self.layers)
        yield held.add(max(0.0, *passing))

    def evaluation(self, *, on_gpu: bool) -> Iterator[Held]:
        """Walk through the moments of a pass over held-out data at which most is held."""
        sizes = self.sizes
        window = evaluation_steps(
            sizes.evaluation_streams,
            hidden_size=self.h.hidden_size,
            output_size=sizes.output_size,
            on_gpu=on_gpu,
        )
        steps = max(min(sizes.evaluation_steps, window), 1)
        pairs = steps * sizes.evaluation_streams
        read, outputs = self._read(pairs) + pairs * WINDOW_BYTES, NUMBER * pairs * sizes.output_size
        # The outputs of the window before are let go of when there are new ones.
        for layer in self.layers:
            yield Held().add(read).add(outputs).add_steps(layer.bytes("inference", steps, sizes.evaluation_streams))
        yield Held().add(read).add(NUMBER * pairs * self.h.hidden_size).add(outputs, 3).add(sizes.evaluation_bytes)


class SequenceNetwork:
    """`workloads.models.encoder.Encoder` over whole sequences, and what stands on it: roughly."""

    def __init__(self, h: Hyperparameters, sizes: Sizes, cell: CellMemory) -> None:
        self.h, self.sizes = h, sizes
        hidden = h.hidden_size
        embedded = (h.embedding_size or hidden) if sizes.vocabulary_size else (sizes.input_size or 1)
        ways = 2 if h.bidirectional else 1
        widths = [embedded] + [ways * hidden] * (h.num_layers - 1)
        self.encoder = [Layer(cell, width, hidden) for width in widths]
        self.decoder = [Layer(cell, width, hidden) for width in [embedded] + [hidden] * (h.num_layers - 1)]
        self.embedded, self.ways = embedded, ways
        self.layers = self.encoder + self.decoder * self.translates
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
        layers = self.ways * len(self.encoder) + len(self.decoder) * self.translates
        yield held.add_steps(KERNEL_BYTES * min(2 * layers * max(self.sizes.longest), MOST_KERNELS))

    def horizon(self) -> Iterator[Held]:
        """Give what measuring a gradient horizon adds: it is measured on fewer sequences than a batch has."""
        held = self._batch(SEQUENCES, "backward")
        for block in self.blocks:
            held.add(NUMBER * block, 2)
        yield held

    def evaluation(self, *, on_gpu: bool) -> Iterator[Held]:
        """Give what a batch of held-out sequences adds at most, taken to be no longer than those of training."""
        yield self._batch(64 if self.translates else 16, "inference")

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
