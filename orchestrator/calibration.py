"""Measuring what cell types take, in a process that has loaded what a worker has, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orchestrator.checkpoints.storage  # noqa: F401 - what a worker loads takes memory too
from workloads.cost.remote import measure_all


def measure_here(cell_types: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Measure cells as trials on one thread run them; see `workloads.cost.remote.measure_all`."""
    return measure_all(cell_types)


def measure_torchs_here(cell_types: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Measure torch's own kernels."""
    return measure_all(cell_types, "torch")
