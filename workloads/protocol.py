"""What a workload is: the contract between the code that trains and the code that sweeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

Params = Mapping[str, Any]
"""The hyperparameters of one trial by name, plain values only."""


class Diverged(ArithmeticError):
    """Training left the numbers: the loss is NaN, infinite or exploding. The message says when."""


class UnusableCheckpoint(ValueError):
    """A checkpoint is torn, or not one at all. Training can go on from an older one."""


class Left(Exception):  # not a fault
    """Training was asked to leave its machine in the middle of an interval, and did, behind a checkpoint."""

    def __init__(self, checkpoint: str) -> None:
        super().__init__(checkpoint)
        self.checkpoint = checkpoint
        """URI of where to go on from, exactly."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One evaluation: how far training has come, what was measured, and where to resume."""

    evaluation: int
    """Index on the sweep's common grid, from 0."""
    sequence_steps: int
    """Sequence steps (tokens, time points, frames; all streams of the batch counted) consumed so far."""
    metrics: Mapping[str, float]
    checkpoint: str
    """URI of a file that is never rewritten."""
    time: float
    """Seconds since the epoch, so that logging it twice is harmless."""


@dataclass(frozen=True)
class Dataset:
    """A workload's data, ready to train on: plain arrays, so that workers can share them without copying."""

    name: str
    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]
    """What a model needs beside its weights (vocabulary, scaling, names); must survive JSON unchanged."""
    source: str
    """Where the data came from, for people."""
    fingerprint: str
    """SHA-256 over arrays and facts, the first 16 hexadecimal digits."""
    baselines: Mapping[str, float] = field(default_factory=dict)
    """Metrics that need no training, named as the metric they stand beside: `naive/valid_mse`."""


class Storage(Protocol):
    """Where checkpoints go. Files are immutable: written once, under a name used once.

    A method `leaving()`, where there is one, says between two updates whether to write a checkpoint at once and raise
    `Left` with it: the machine is about to go. It may raise by itself what ends the trial.
    """

    def write(self, name: str, content: bytes) -> str:
        """Store `content` under `name`, whole or not at all, and return its URI."""

    def read(self, uri: str) -> bytes:
        """Return what was stored; FileNotFoundError where nothing is."""


class Predictor(Protocol):
    """A trained model in use: tables of plain columns in, tables of plain columns out.

    An attribute `optional_columns`, where there is one, names columns of the example that may be left out; one called
    `packages` names what must be installed for predicting beside torch, numpy and pandas. A method `stream()`, where
    there is one, returns a new `Stream`; its ValueError says why this model cannot be fed piece by piece. Attributes
    `network` and `facts`, where there are any, are what `workloads.export` writes to a file.
    """

    def predict(self, columns: Mapping[str, list[Any]], options: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Answer for every row; ValueError names what is wrong with the input."""

    def example(self) -> tuple[dict[str, list[Any]], dict[str, Any]]:
        """Return an input that `predict` accepts, and the options with their defaults."""


class Stream(Protocol):
    """A trained model fed piece by piece: it answers what it would answer to all at once, however they are cut."""

    takes: str
    """What a piece is: `text`, any part of one; `sound`, samples (time,) from -1 to 1; or `rows`, a table's columns."""

    def feed(self, piece: Any) -> dict[str, list[Any]]:
        """Answer what can be answered by now; ValueError, and as if never fed, where the piece is unusable."""

    def finish(self) -> dict[str, list[Any]]:
        """Answer what still waited for more to come."""

    def save(self) -> dict[str, Any]:
        """Return all that is carried from piece to piece: tensors, tuples of them, and plain values."""

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `save` returned; ValueError where that was another model's."""


class SoundStream(Stream, Protocol):
    """One that takes `sound`."""

    sample_rate: int
    """Of the samples that it takes, in Hz."""


class Workload(Protocol):
    """A kind of sequence task with its data.

    Two methods more, where there are any, let its costs be predicted: `sizes(dataset)`, see `workloads.cost.sizes`, and
    `begin(params, dataset)`, see `workloads.cost.timing`.
    """

    @property
    def objectives(self) -> Mapping[str, str]:
        """Return the metrics that a sweep can aim at, with `minimize` or `maximize`; the first is the default."""

    def prepare(self) -> Dataset:
        """Load the data once per sweep. ValueError or OSError say what is wrong with it."""

    def check(self, params: Params) -> None:
        """Raise ValueError, naming the field, where `params` cannot be trained. Needs no data."""

    def train(
        self, params: Params, dataset: Dataset, storage: Storage, resume_from: str | None = None
    ) -> Iterator[Progress]:
        """Train one trial, yielding at every evaluation; from a checkpoint, exactly as if never interrupted."""

    def predictor(self, checkpoint: bytes) -> Predictor:
        """Return the trained model out of a checkpoint's content alone."""
