"""Measuring what cell types take, in a process that has loaded what takes memory in a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workloads.cost.remote import measure_all


def measure_here(cell_types: Sequence[str], kernel: str = "auto") -> tuple[dict[str, Any], dict[str, str]]:
    """Measure cells as trials on one thread run them; see `workloads.cost.remote.measure_all`."""
    import orchestrator.checkpoints.storage  # noqa: F401 - it loads pyarrow, which takes memory too

    return measure_all(cell_types, kernel)


def measure_torchs_here(cell_types: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Measure torch's own kernels."""
    return measure_here(cell_types, "torch")
