"""Scoring a trained network anew: the very metrics that an evaluation in training measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from workloads.checkpoint import unpack

if TYPE_CHECKING:
    from workloads.protocol import Dataset, Workload

CPU = {"device": "cpu", "precision": "fp32"}
"""Whatever a network was trained on, all are scored alike."""


def score(workload: Workload, checkpoint: bytes, dataset: Dataset) -> dict[str, float]:
    """Return the metrics of a checkpoint's network on the held-out parts of `dataset`.

    Raises ValueError where the workload does not say how its training begins (`begin`), where the checkpoint is none,
    or where its network does not fit the data.
    """
    begin: Any = getattr(workload, "begin", None)
    if begin is None:
        raise ValueError(f"{type(workload).__name__} has no method `begin`, so its models cannot be scored anew")
    read: Mapping[str, Any] = unpack(checkpoint)
    task, _ = begin({**read["hyperparameters"], **CPU}, dataset)
    try:
        task.network.load_state_dict(read["network"])
    except RuntimeError as error:
        raise ValueError(f"the network does not fit the data: {str(error).splitlines()[0]}") from error
    metrics: dict[str, float] = task.evaluate(torch.device("cpu"))
    return metrics
