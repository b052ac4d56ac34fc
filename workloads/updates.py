"""Where an update's gradient comes from: the next window of a carried stream, or the next batch of whole sequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from workloads.bptt.gradients import gradient_by_distance
from workloads.bptt.state import map_state
from workloads.bptt.truncation import BoundaryStates, Window, backpropagate
from workloads.data.batches import BucketBatches
from workloads.data.stream import Stream
from workloads.hyperparameters import Hyperparameters


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

    def gradient_by_distance(self, batch: Any) -> dict[int, float]:
        """Return the norm of a last output's gradient by distance; see `workloads.bptt.gradients`."""


@dataclass(frozen=True, slots=True)
class Update:
    """What one window or batch gave, beside the gradient in the parameters' `.grad`."""

    loss: Tensor
    """The mean over its terms."""
    terms: int
    sequence_steps: int
    chance: Tensor | float


class Updates(Protocol):
    """The gradients of a trial, one after another."""

    def next(self) -> Update:
        """Add the next gradient to the parameters' `.grad`."""

    def position(self) -> dict[str, Any]:
        """Return where the data stand, for a checkpoint: plain values and tensors."""

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Go on where `position` was taken."""

    def gradient_by_distance(self) -> dict[int, float]:
        """Measure how gradients fall with distance, over data that are always the same."""


def updates_of(task: Any, h: Hyperparameters, device: torch.device) -> Updates:
    """Return where the gradients of a task come from."""
    return (
        SequenceUpdates(task, h, device) if isinstance(task.training, BucketBatches) else StreamUpdates(task, h, device)
    )


class StreamUpdates:
    """Windows of carried streams: k1 new steps, and the gradient over truncation_length."""

    def __init__(self, task: StreamTask, h: Hyperparameters, device: torch.device) -> None:
        self.task, self.device, self.epoch = task, device, 0
        self.truncation_length = h.truncation_length
        self.boundaries = BoundaryStates(h.truncation_length, h.steps_between_updates)

    def next(self) -> Update:
        """Run the next window and its context."""
        stream = self.task.training
        first, begin, new, stop, state = self.boundaries.next_window(stream.length)
        inputs, targets = self._window(first, stop)
        window = Window(inputs, targets[new - first :], skip=begin - first, context=new - begin)
        step = backpropagate(self.task.network, self.task.loss, window, state)
        self.boundaries.advance(stop, step.state)
        chance = self.task.chance_loss(window.targets) if step.terms else 0.0
        if stop == stream.length:
            self.epoch += 1
            self.boundaries.clear()
        return Update(step.loss, step.terms, (stop - new) * stream.batch_size, chance)

    def _window(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self.task.training.window(self.epoch, start, stop)
        return (
            torch.from_numpy(inputs).to(self.device, non_blocking=True),
            torch.from_numpy(targets).to(self.device, non_blocking=True),
        )

    def position(self) -> dict[str, Any]:
        """Return epoch and boundary states."""
        return {"epoch": self.epoch, "boundaries": self.boundaries.boundaries}

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Go on behind the boundary reached."""
        self.epoch = position["epoch"]
        self.boundaries.boundaries = [
            (step, map_state(lambda tensor: tensor.to(self.device), state)) for step, state in position["boundaries"]
        ]

    def gradient_by_distance(self) -> dict[int, float]:
        """Measure over the last steps of the stream."""
        length = self.task.training.length
        inputs, targets = self._window(length - min(self.truncation_length, length), length)
        return gradient_by_distance(self.task.network, self.task.loss, inputs=inputs, targets=targets, state=None)


class SequenceUpdates:
    """Batches of whole sequences: one update for each."""

    def __init__(self, task: SequenceTask, h: Hyperparameters, device: torch.device) -> None:
        self.task, self.device = task, device
        self.epoch = self.index = 0
        batches = task.training
        # Batches are of similar lengths: the longest sequences come together.
        per_update = int(np.sort(batches.lengths)[-batches.batch_size :].sum())
        if per_update > h.sequence_steps / h.evaluations:
            raise ValueError(
                f"budget.evaluations: {h.evaluations} leave {h.sequence_steps / h.evaluations:.0f} sequence steps "
                f"between two evaluations, but one update of batch_size {h.batch_size} consumes up to "
                f"{per_update}; raise budget.sequence_steps, or lower evaluations or batch_size"
            )

    def next(self) -> Update:
        """Run the next batch."""
        batches = self.task.training
        indices = batches.batch(self.epoch, self.index)
        batch = self.task.batch(indices, self.epoch, self.device)
        total, terms = self.task.loss(batch)
        mean = total / max(terms, 1)
        if terms:
            mean.backward()  # type: ignore[no-untyped-call]
        self.index += 1
        if self.index == batches.count:
            self.epoch, self.index = self.epoch + 1, 0
        return Update(mean.detach(), terms, int(batches.lengths[indices].sum()), self.task.chance_loss(batch))

    def position(self) -> dict[str, Any]:
        """Return epoch and batch."""
        return {"epoch": self.epoch, "index": self.index}

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Go on with the batch that was next."""
        self.epoch, self.index = position["epoch"], position["index"]

    def gradient_by_distance(self) -> dict[int, float]:
        """Measure over the longest sequence."""
        longest = np.array([np.argmax(self.task.training.lengths)])
        return self.task.gradient_by_distance(self.task.batch(longest, 0, self.device))
