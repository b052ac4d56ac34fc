"""What trials will cost, before they are trained: which settings fit into memory, and how many at once.

A workload that says its sizes (`workloads.cost.sizes`) can be predicted; its cell types are measured on a worker's device,
once for each machine, and remembered in the runs folder. What cannot be predicted is trained as before.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from orchestrator.machine import Machine
from orchestrator.space import corners
from orchestrator.spec import Resources, SweepSpec, trials_allowed
from workloads.cost.memory import ROUGH, Calibration, CellMemory, peak_memory
from workloads.cost.sizes import Sizes
from workloads.hyperparameters import Hyperparameters, find_module
from workloads.options import read_options
from workloads.protocol import Dataset, Params, Workload

GPU_CONTEXT = 0.6e9
"""Bytes that a process takes of a GPU before it trains: CUDA's own, and its libraries'."""
SAFE = 0.5
"""Where even a generous guess stays below this part of the memory, nothing is measured."""

Measure = Callable[..., Any]
"""Calls a function with its arguments in a process like a worker's, and returns its answer."""


@dataclass(frozen=True, slots=True)
class Room:
    """The memory that trials share, and what each of them will take of it.

    Without `memory_of` everything fits. `together` trials share `memory_bytes` at most: of a machine, or of a GPU.
    """

    memory_of: Callable[[Params], float | None] = lambda _: None
    memory_bytes: float = math.inf
    together: int = 1
    what: str = "this machine"

    def refuses(self, params: Params) -> str:
        """Return in a line why a setting can never be trained here; empty where it can, or where nobody knows."""
        needed = self.memory_of(params)
        if needed is None or needed <= self.memory_bytes:
            return ""
        return (
            f"not started: {gigabytes(needed)} of memory predicted, {gigabytes(self.memory_bytes)} allowed on {self.what}"
        )

    def admits(self, params: Params, under_way: Sequence[Params]) -> bool:
        """Tell whether a trial can begin beside those under way, whichever of them share a machine."""
        needed = [self.memory_of(each) or 0.0 for each in (params, *under_way)]
        largest = sorted(needed, reverse=True)[: self.together]
        return not under_way or sum(largest) <= self.memory_bytes


@dataclass(frozen=True, slots=True)
class Costs:
    """Predictions for one sweep: sizes of its data, and what was measured of its cell types."""

    sizes: Sizes | None
    calibration: Calibration
    unknown: Mapping[str, str] = field(default_factory=dict)
    """Cell types that could not be measured, with the reason."""

    def memory(self, params: Params) -> float | None:
        """Return the bytes that a trial takes at most; None where that is not known."""
        try:
            h = read_options(Hyperparameters, params, "train")
        except ValueError:  # a workload of the user's own may take others; and what is wrong, training says best
            return None
        if self.sizes is None or h.cell_type not in self.calibration.cells:
            return None
        return peak_memory(h, self.sizes, self.calibration)


def sizes_of(workload: Workload, dataset: Dataset) -> Sizes | None:
    """Return the sizes that a workload's data give its networks; None where it does not say."""
    sizes = getattr(workload, "sizes", None)
    return None if sizes is None else cast("Sizes", sizes(dataset))


def cell_types(spec: SweepSpec) -> list[str]:
    """Return the cell types that a sweep can come to."""
    if "cell_type" in spec.space:
        return [str(value) for value in spec.space["cell_type"].ends()]
    return [str(spec.train.get("cell_type", Hyperparameters.__dataclass_fields__["cell_type"].default))]


def extremes(spec: SweepSpec) -> Iterator[Params]:
    """Walk through the extreme settings of a sweep, written out."""
    return (spec.params(chosen) for chosen in corners(spec.space))


def tops(spec: SweepSpec) -> list[Params]:
    """Return the settings with all ranges at their upper ends: none takes more memory, other choices being the same."""
    high = {
        name: parameter if parameter.choice is not None else parameter.model_copy(update={"step": None, **_top(parameter)})
        for name, parameter in spec.space.items()
    }
    return [spec.params(chosen) for chosen in itertools.islice(corners(high), 4096)]


def _top(parameter: Any) -> dict[str, Any]:
    name = "int_range" if parameter.int_range is not None else "float_range"
    return {name: (parameter.bounds[1], parameter.bounds[1])}


def is_surely_small(spec: SweepSpec, sizes: Sizes, memory_bytes: float) -> bool:
    """Tell whether no setting can come near the memory that each trial has, without measuring anything."""
    if not set(cell_types(spec)) <= set(ROUGH.cells):
        return False
    guess = Costs(sizes, ROUGH)
    return max((guess.memory(params) or 0.0 for params in tops(spec)), default=0.0) <= SAFE * memory_bytes


def measured(
    spec: SweepSpec, sizes: Sizes | None, *, measure: Measure, remembered: Path, place: str
) -> Costs:
    """Return the predictions for a sweep, measuring what is not remembered of the same place.

    `place` names machine, device and kind of process, by which what a process takes differs.
    """
    try:
        place = f"{place}, torch {version('torch')}"
    except PackageNotFoundError:
        place = f"{place}, torch unknown"
    known = _read(remembered).get(place, {})
    wanted = {cell: _mark(cell) for cell in cell_types(spec)}
    cells = {cell: of for cell, of in known.get("cells", {}).items() if known["marks"].get(cell) == _mark(cell)}
    missing = [cell for cell in wanted if cell not in cells]
    unknown: dict[str, str] = {}
    if sizes is not None and (missing or "base_bytes" not in known):
        from workloads.cost.remote import measure_all

        found, unknown = measure(measure_all, missing)
        cells |= found["cells"]
        known = {**found, "cells": cells, "marks": {cell: _mark(cell) for cell in cells}}
        if found["device"]:
            _write(remembered, {**_read(remembered), place: known})
    if "base_bytes" not in known:
        return Costs(None, ROUGH, unknown)
    return Costs(sizes, Calibration.from_plain(known), unknown)


def _mark(cell_type: str) -> str:
    """Return by what a user's own cell is known to have changed."""
    if ":" not in cell_type:
        return ""
    origin = getattr(find_module(cell_type), "origin", None)
    with suppress(OSError, TypeError):
        return str(Path(str(origin)).stat().st_mtime_ns)
    return ""


def _read(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text())
    except (OSError, ValueError):  # none yet, or torn: it is measured again
        return {}
    return read if isinstance(read, dict) else {}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with suppress(OSError):  # what is not remembered is measured again
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(content))
        temporary.replace(path)


def allot(spec: SweepSpec, machine: Machine, costs: Costs) -> Resources:
    """Choose what each trial takes, for `resources: auto`.

    As many trials at once as a machine has CPUs, or GPUs have memory for the middle one of the space's settings; CPUs
    that would be idle become threads. Larger settings are kept from beginning beside others by `Room`.
    """
    needs = sorted(need for params in extremes(spec) if (need := costs.memory(params)) is not None)
    middle = needs[len(needs) // 2] if needs else None
    trials = min(trials_allowed(spec), machine.cpus)
    if not machine.gpus:
        fitting = trials if middle is None or machine.memory_bytes is None else int(machine.memory_bytes // middle)
        return Resources(cpus=max(machine.cpus // max(min(trials, fitting), 1), 1))
    shared = 1
    if middle is not None and machine.gpu_memory_bytes is not None:
        shared = int(machine.gpu_memory_bytes // (middle + GPU_CONTEXT))
    shared = max(min(shared, trials // machine.gpus, MOST_SHARED), 1)
    return Resources(cpus=max(machine.cpus // (shared * machine.gpus), 1), gpus=1 / shared)


MOST_SHARED = 16
"""Trials on one GPU, at most: beyond that they wait for each other more than they gain."""


def room_for(machine: Machine, resources: Resources, costs: Costs) -> Room:
    """Return the memory that trials of these resources share."""
    if resources.gpus:
        if machine.gpu_memory_bytes is None:
            return Room()
        together = max(int(1 / min(resources.gpus, 1) + 1e-9), 1)

        def on_gpu(params: Params) -> float | None:
            needed = costs.memory(params)
            return None if needed is None else needed + GPU_CONTEXT

        return Room(on_gpu, machine.gpu_memory_bytes, together, f"a GPU of {machine.name}")
    if machine.memory_bytes is None:
        return Room()
    together = max(min(int(machine.cpus / resources.cpus + 1e-9), resources.workers or machine.cpus * 64), 1)
    return Room(costs.memory, machine.memory_bytes, together, machine.name)


def gigabytes(size: float) -> str:
    """Return bytes in words: `340 MB`, `2.1 GB`."""
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
