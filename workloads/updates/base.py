"""What a task brings to training, and what an update gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from workloads.bptt.horizon import Horizon
from workloads.bptt.truncation import Truncation
from workloads.data.batches import BucketBatches
from workloads.data.stream import Stream


class Task(Protocol):
    """What a workload brings to training; it is a StreamTask or a SequenceTask."""

    @property
    def network(self) -> nn.Module:
        """The network."""

    @property
    def facts(self) -> dict[str, Any]:
        """Everything beside the weights that the trained network needs for predicting; plain values."""

    def evaluate(self, device: torch.device) -> dict[str, float]:
        """Return the validation metrics of the network as it stands."""


class StreamTask(Task, Protocol):
    """A task on streams that carry a state from window to window; the network is called `network(inputs, state)`."""

    @property
    def training(self) -> Stream:
        """What it is trained on."""

    def chance_loss(self, targets: Tensor) -> Tensor | float:
        """Return the mean loss of guessing, on such data in general or on these targets, whichever is more.

        A loss is exploding only beside this: the data themselves may have storms, and a calm beginning.
        """

    def loss(self, outputs: Any, targets: Tensor) -> tuple[Tensor, int]:
        """Return the summed loss and the number of its terms; outputs and targets begin with (time, batch)."""


class SequenceTask(Task, Protocol):
    """A task on whole sequences, each of which begins anew; the network truncates the way back by itself."""

    @property
    def training(self) -> BucketBatches:
        """Which sequences are trained on together."""

    def batch(self, indices: np.ndarray, epoch: int, device: torch.device) -> Any:
        """Return these training sequences on `device`; what is drawn at random depends on seed, epoch and indices."""

    def loss(self, batch: Any) -> tuple[Tensor, int]:
        """Run the network; return the summed loss and the number of its terms."""

    def chance_loss(self, batch: Any) -> Tensor | float:
        """Return the mean loss of guessing, as a StreamTask's."""

    def horizon(self, batch: Any, steps: int) -> Horizon | None:
        """Measure over the last `steps` steps, or fewer, that all sequences of the batch have."""


@dataclass(frozen=True, slots=True)
class Update:
    """What one window or batch gave, beside the gradient in the parameters' `.grad`."""

    loss: Tensor
    """The mean over its terms."""
    terms: int
    sequence_steps: int
    chance: Tensor | float
    learning_rate_factor: float = 1.0


class Updates(Protocol):
    """The gradients of a trial, one after another."""

    def next(self) -> Update:
        """Add the next gradient to the parameters' `.grad`."""

    def position(self) -> dict[str, Any]:
        """Return where the data stand, for a checkpoint: plain values and tensors."""

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Go on where `position` was taken."""

    def horizon(self, look: int = 0) -> Horizon | None:
        """Measure how far gradients travel now; None where they say nothing. Where is drawn by `look`."""

    def horizon_reads(self) -> int:
        """Return how many sequence steps measuring one reads."""

    def look(self, horizon: Horizon) -> None:
        """Let the truncation scheme learn from a horizon."""

    @property
    def truncation(self) -> Truncation:
        """Return the truncation scheme, or one of several that do the same."""
