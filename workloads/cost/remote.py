"""What is asked of a worker's machine: plain values in and out, and nothing loaded before it is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workloads.heap import hold_tensors_apart


def measure_all(cell_types: Sequence[str], kernel: str = "auto") -> tuple[dict[str, Any], dict[str, str]]:
    """Measure cell types on this process's device, run with `kernel`: see `Hyperparameters.kernel`.

    Returns a Calibration's plain values, without `base_bytes` where the system does not say what a process takes; and
    by cell type why it could not be measured.
    """
    is_apart = hold_tensors_apart()
    import torch

    from workloads.cost.cells import Calibration
    from workloads.cost.measure import Unmeasurable, measure_base, measure_cell

    torch.set_num_threads(1)
    unknown: dict[str, str] = {}
    cells = {}
    with torch.random.fork_rng():
        try:
            base = measure_base()
        except Unmeasurable as error:
            return {"device": "", "cells": {}}, dict.fromkeys(cell_types, str(error))
        for cell_type in cell_types:
            try:
                cells[cell_type] = measure_cell(cell_type, kernel=kernel)
            except Exception as error:  # noqa: BLE001 - a user's own cell may fail in any way
                unknown[cell_type] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return Calibration(base.device, base.base_bytes, cells, is_apart).plain(), unknown
