"""Where an update's gradient comes from: the next window of a carried stream, or the next batch of whole sequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from workloads.bptt.full import FullTruncation
from workloads.bptt.graph_bytes import step_bytes
from workloads.bptt.horizon import Horizon, mean_horizon, measure_horizon
from workloads.bptt.schemes import make_truncation, truncations_of
from workloads.bptt.state import State, map_state
from workloads.bptt.truncation import Truncation
from workloads.bptt.windows import BoundaryStates, Window, backpropagate
from workloads.data.batches import BucketBatches
from workloads.data.stream import Stream
from workloads.hyperparameters import Hyperparameters, check_grid

HORIZON_STEPS, HORIZON_LENGTHS = (64, 512), 2
"""A horizon is measured over so many truncation lengths, within these bounds in steps."""
HORIZON_STREAMS, HORIZON_WINDOWS = (4, 16), 2
"""It is measured on so many streams at least and at most, and at so many places where that is cheap."""
HORIZON_SHARE = 0.01
"""The part of the sequence steps between two evaluations that it may read, the least number of streams allowing."""
WARM_UP_STEPS = 64
"""Steps read before, so that the state is one that training knows."""
HORIZON_SEQUENCES = 8
"""The longest sequences, on which it is measured where sequences are read whole."""


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
        """Measure how far gradients travel, over data that depend on `look` alone; None where they say nothing."""

    def look(self, horizon: Horizon) -> None:
        """Let the truncation scheme learn from a horizon."""

    @property
    def truncation(self) -> Truncation:
        """Return the truncation scheme, or one of several that do the same."""


def updates_of(task: Any, h: Hyperparameters, device: torch.device) -> Updates:
    """Return where the gradients of a task come from."""
    return (
        SequenceUpdates(task, h, device) if isinstance(task.training, BucketBatches) else StreamUpdates(task, h, device)
    )


def horizon_steps(h: Hyperparameters) -> int:
    """Return the steps over which a horizon is measured, where the data have so many."""
    least, most = HORIZON_STEPS
    return min(max(HORIZON_LENGTHS * h.truncation_length, least), most)


class StreamUpdates:
    """Windows of carried streams, placed by the truncation scheme."""

    def __init__(self, task: StreamTask, h: Hyperparameters, device: torch.device) -> None:
        self.task, self.h, self.device, self.epoch = task, h, device, 0
        check_grid(h, h.mean_steps_between_updates, task.training.length)
        self.truncation = make_truncation(h)
        self.boundaries = BoundaryStates(self.truncation.longest_context)

    def next(self) -> Update:
        """Run the next window and its context."""
        stream = self.task.training
        new = self.boundaries.position
        self.truncation.begin(self.epoch, new)
        if isinstance(self.truncation, FullTruncation) and self.truncation.step_bytes is None:
            self.truncation.step_bytes = step_bytes(
                self.task.network, self._with_loss, self._window(0, stream.length)[0]
            )
        reach = self.truncation.reach(stream.length - new)
        first, begin, state = self.boundaries.begin(reach.back - reach.new)
        stop = new + reach.new
        inputs, targets = self._window(first, stop)
        window = Window(
            inputs,
            targets[new - first :],
            skip=begin - first,
            context=new - begin,
            chunks=reach.chunks,
            weight=reach.weight,
        )
        step = backpropagate(self.task.network, self.task.loss, window, state)
        self.boundaries.advance(stop, step.state)
        chance = self.task.chance_loss(window.targets) if step.terms else 0.0
        if stop == stream.length:
            self.epoch += 1
            self.boundaries.clear()
        consumed = (stop - new) * stream.batch_size
        return Update(step.loss, step.terms, consumed, chance, reach.learning_rate_factor)

    def _with_loss(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the network and sum up its outputs: a loss keeps as much as that, or a little more."""
        outputs, state = self.task.network(inputs, state)
        return outputs.square().sum()[None], state

    def _window(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self.task.training.window(self.epoch, start, stop)
        return (
            torch.from_numpy(inputs).to(self.device, non_blocking=True),
            torch.from_numpy(targets).to(self.device, non_blocking=True),
        )

    def position(self) -> dict[str, Any]:
        """Return epoch and boundary states."""
        return {
            "epoch": self.epoch,
            "boundaries": self.boundaries.boundaries,
            "truncation": self.truncation.position(),
        }

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Go on behind the boundary reached."""
        self.epoch = position["epoch"]
        self.boundaries.boundaries = [
            (step, map_state(lambda tensor: tensor.to(self.device), state)) for step, state in position["boundaries"]
        ]
        self.truncation.go_to(position["truncation"])

    def look(self, horizon: Horizon) -> None:
        """Let the truncation scheme learn from a horizon."""
        self.truncation.look(horizon)

    def horizon(self, look: int = 0) -> Horizon | None:
        """Measure at the end of the stream and, where that is cheap, at a place drawn by `look`."""
        length = self.task.training.length
        steps = min(horizon_steps(self.h), length)
        affordable = HORIZON_SHARE * self.h.sequence_steps / max(self.h.evaluations, self.truncation.looks) / steps
        least, most = HORIZON_STREAMS
        streams = int(min(max(affordable, least), most))
        places = [length]
        if affordable >= HORIZON_WINDOWS * streams:
            places.append(int(np.random.default_rng([self.h.seed, look]).integers(steps, length + 1)))
        found = [self._horizon_before(stop, steps, streams) for stop in dict.fromkeys(places)]
        measured = [horizon for horizon in found if horizon is not None]
        return mean_horizon(measured) if measured else None

    def _horizon_before(self, stop: int, steps: int, streams: int) -> Horizon | None:
        start = max(stop - steps - WARM_UP_STEPS, 0)
        inputs, targets = (part[:, :streams] for part in self._window(start, stop))
        state: State = None
        warm_up = stop - steps - start
        if warm_up:
            with torch.no_grad():
                _, state = self.task.network(inputs[:warm_up], None)
        return measure_horizon(
            self.task.network, self.task.loss, inputs=inputs[warm_up:], targets=targets[warm_up:], state=state
        )


class SequenceUpdates:
    """Batches of whole sequences: one update for each."""

    def __init__(self, task: SequenceTask, h: Hyperparameters, device: torch.device) -> None:
        self.task, self.h, self.device = task, h, device
        self.epoch = self.index = 0
        self.truncations = truncations_of(task.network)
        batches = task.training
        # Batches are of similar lengths: the longest sequences come together.
        per_update = int(np.sort(batches.lengths)[-batches.batch_size :].sum())
        if per_update > h.sequence_steps / h.evaluations:
            raise ValueError(
                f"budget.evaluations: {h.evaluations} leave {h.sequence_steps / h.evaluations:.0f} sequence steps "
                f"between two evaluations, but one update of batch_size {h.batch_size} consumes up to "
                f"{per_update}; raise budget.sequence_steps, or lower evaluations or batch_size"
            )

    @property
    def truncation(self) -> Truncation:
        """Return the scheme of one stack of layers; all have the same."""
        return self.truncations[0]

    def next(self) -> Update:
        """Run the next batch."""
        batches = self.task.training
        for truncation in self.truncations:
            truncation.begin(self.epoch, self.index)
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
        schemes = [truncation.position() for truncation in self.truncations]
        return {"epoch": self.epoch, "index": self.index, "truncations": schemes}

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Go on with the batch that was next."""
        self.epoch, self.index = position["epoch"], position["index"]
        for truncation, known in zip(self.truncations, position["truncations"], strict=True):
            truncation.go_to(known)

    def look(self, horizon: Horizon) -> None:
        """Let the truncation schemes of all stacks learn from a horizon."""
        for truncation in self.truncations:
            truncation.look(horizon)

    def horizon(self, look: int = 0) -> Horizon | None:
        """Measure over the longest sequences."""
        lengths = self.task.training.lengths
        longest = np.argsort(lengths, kind="stable")[-HORIZON_SEQUENCES:]
        return self.task.horizon(self.task.batch(longest, look, self.device), horizon_steps(self.h))
