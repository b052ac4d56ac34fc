"""Where an update's gradient comes from: the next window of a carried stream, or the next batch of whole sequences."""

from __future__ import annotations

from typing import Any

import torch

from workloads.data.batches import BucketBatches
from workloads.hyperparameters import Hyperparameters
from workloads.updates.base import Task, Update, Updates
from workloads.updates.sequence import SequenceUpdates
from workloads.updates.stream import StreamUpdates

__all__ = ["Task", "Update", "Updates", "updates_of"]


def updates_of(task: Any, h: Hyperparameters, device: torch.device) -> Updates:
    """Return where the gradients of a task come from."""
    return (
        SequenceUpdates(task, h, device) if isinstance(task.training, BucketBatches) else StreamUpdates(task, h, device)
    )
