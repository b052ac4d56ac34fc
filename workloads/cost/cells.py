"""What was measured of cell types on one device, and what a layer of one takes by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Line = tuple[float, ...]
"""Bytes once for each weight; for each step; for each step and stream, and that times input and times hidden size."""


@dataclass(frozen=True, slots=True)
class CellMemory:
    """Bytes that one layer of a cell type takes; see `Line`."""

    weights: Line
    """Weights as a + b * input + c * hidden + d * input * hidden + e * hidden ** 2."""
    kept: Line
    """Behind the forward pass, for the way back."""
    forward: Line
    """At most during the forward pass."""
    backward: Line
    """At most on the way back, what was kept and the gradients of weights and inputs counted."""
    inference: Line
    """At most during a forward pass that keeps nothing."""
    call: float = 0.0
    """Behind a forward pass of one step, times streams and hidden size: more than a step of a window keeps."""
    loaded: float = 0.0
    """Once a process, when it first runs such a cell: code read in, and kernels made for it, as far as no cell measured
    before it in the same process had it loaded; of torch's LSTM it is most."""

    room: Line = (0.0, 0.0)
    """Once a process, what a compiled kernel works in: so much, and so much for each weight of the largest layer."""

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> CellMemory:
        """Return what `asdict` wrote down, and JSON gave back."""
        given: dict[str, Any] = {name: tuple(of) if isinstance(of, list) else of for name, of in plain.items()}
        return cls(**given)

    def room_for(self, weights: float) -> float:
        """Return the bytes that its kernel works in where the largest layer has so many weights."""
        once, each = self.room
        return once + each * weights

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
    """What a process has that has trained something tiny; what its cell type loads is counted with the cell."""
    cells: Mapping[str, CellMemory] = field(default_factory=dict)
    is_apart: bool = False
    """Whether the process holds large tensors apart from its heap (`workloads.heap`)."""

    def plain(self) -> dict[str, Any]:
        """Return plain values, to be stored."""
        cells = {cell: asdict(of) for cell, of in self.cells.items()}
        return {"device": self.device, "base_bytes": self.base_bytes, "cells": cells, "is_apart": self.is_apart}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Calibration:
        """Return what `plain` wrote."""
        cells = {cell: CellMemory.from_plain(of) for cell, of in plain["cells"].items()}
        return cls(plain["device"], plain["base_bytes"], cells, plain["is_apart"])


ROUGH = Calibration(
    "cpu",
    700e6,
    dict.fromkeys(
        ("rnn", "rnn_relu", "gru", "lstm"),
        CellMemory(
            weights=(0, 0, 8, 4, 4),
            kept=(5, 20e3, 600, 2, 60),
            forward=(5, 20e3, 600, 2, 60),
            backward=(14, 20e3, 600, 8, 80),
            inference=(5, 1e3, 100, 2, 25),
            call=150,
        ),
    ),
)
"""A generous guess at torch's own cells, for telling without measuring that something is small."""


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

    def pieces(self, steps: Sequence[int], batch: int) -> float:
        """Return what windows of so many steps, each a call of its own, keep for the way back."""
        _, step, both, by_input, by_hidden = self.cell.kept
        others = sum(steps) - len(steps)
        per_step = both + by_input * self.input_size + by_hidden * self.hidden_size
        return len(steps) * batch * self.cell.call * self.hidden_size + others * (step + batch * per_step)
