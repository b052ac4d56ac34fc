"""Updates from batches of whole sequences, each of which begins anew; the network truncates the way back by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from workloads.bptt.horizon import Horizon
from workloads.bptt.schemes import truncations_of
from workloads.bptt.truncation import Truncation
from workloads.horizon_window import SEQUENCES, horizon_steps
from workloads.hyperparameters import Hyperparameters
from workloads.updates.base import SequenceTask, Update


class SequenceUpdates:
    """Batches of whole sequences: one update for each."""

    def __init__(self, task: SequenceTask, h: Hyperparameters, device: torch.device) -> None:
        self.task, self.h, self.device = task, h, device
        self.epoch = self.index = 0
        self.truncations = truncations_of(task.network)
        for truncation in self.truncations:
            truncation.share_memory_with(len(self.truncations) - 1)
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
        for number, truncation in enumerate(self.truncations):
            # Each draws for itself: a gradient that crosses two stacks would be compensated twice for the same cut.
            truncation.begin(self.epoch, self.index, number)
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
        return self.task.horizon(self.task.batch(self._longest(), look, self.device), horizon_steps(self.h))

    def horizon_reads(self) -> int:
        """Return the steps of the longest sequences."""
        return int(self.task.training.lengths[self._longest()].sum())

    def _longest(self) -> np.ndarray:
        return np.argsort(self.task.training.lengths, kind="stable")[-SEQUENCES:]
