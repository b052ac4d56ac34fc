"""What trials will cost, before they are trained: which settings fit into memory, and how many at once.

A workload that says its sizes (`workloads.cost.sizes`) can be predicted; its cell types are measured on a worker's
device, once for each machine and version, and remembered in the runs folder. What cannot be predicted is trained as
before.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import workloads
from orchestrator.calibration import measure_here, measure_torchs_here
from orchestrator.errors import BpttError, UserError
from orchestrator.machine import Machine
from orchestrator.room import Room, allot, describe, gigabytes, room_for
from orchestrator.space import corners
from orchestrator.spec import Resources, SweepSpec, trials_allowed
from workloads.cost.cells import ROUGH, Calibration
from workloads.cost.memory import peak_memory
from workloads.cost.sizes import Sizes
from workloads.heap import may_hold_apart
from workloads.hyperparameters import Hyperparameters, find_module
from workloads.options import read_options
from workloads.protocol import Dataset, Params, Workload

SAFE = 0.5
"""Where even a generous guess stays below this part of the memory, nothing is measured."""

REMEMBERED = "costs.json"
"""What was measured, in the runs folder."""
Measure = Callable[..., Any]
"""Calls a function with its arguments in a process like a worker's, and returns its answer."""


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


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is known of a sweep's costs before its first trial."""

    resources: Resources
    """What each trial takes: as the sweep file says, or chosen."""
    room: Room = field(default_factory=Room)
    costs: Costs | None = None
    """None where nothing had to be measured, or nothing could be."""
    notes: list[str] = field(default_factory=list)


def expect(
    spec: SweepSpec,
    sizes: Sizes | None,
    machine: Machine,
    *,
    measure: Measure,
    remembered: Path,
    always: bool = False,
) -> Expectation:
    """Predict what the trials of a sweep take, measuring where that could matter (or `always`), and give them room.

    Raises UserError where not even the smallest setting has room.
    """
    resources = Resources() if spec.resources.is_auto else spec.resources
    on_gpu = machine.gpus > 0 and spec.train.get("device") != "cpu" and (spec.resources.is_auto or resources.gpus > 0)
    machine = machine if on_gpu else replace(machine, gpus=0, gpu_memory_bytes=None)
    shared = room_for(machine, resources, Costs(sizes, ROUGH).memory)
    needed = always or spec.resources.is_auto
    if not needed and (sizes is None or is_surely_small(spec, sizes, shared.memory_bytes / shared.together)):
        return Expectation(resources)
    place = f"{machine.name}, {'GPU' if on_gpu else 'CPU'}, {getattr(measure, '__qualname__', '')}"
    try:
        costs = measured(
            spec, sizes, measure=partial(measure, gpus=1.0 if on_gpu else 0.0), remembered=remembered, place=place
        )
    except BpttError as error:
        costs = Costs(None, ROUGH, dict.fromkeys(cell_types(spec), str(error)))
    notes = [f"the memory of cell_type {cell} is not predicted: {why}" for cell, why in costs.unknown.items()]
    if sizes is None:
        notes.append(f"the memory of {spec.workload.kind} is not predicted: the workload does not say its sizes")
    if spec.resources.is_auto:
        needs = [need for params in extremes(spec) if (need := costs.memory(params)) is not None]
        resources = allot(machine, trials_allowed(spec), needs)
        notes.append(f"resources: auto gives each trial {describe(resources)}")
    room = room_for(machine, resources, costs.memory)
    refuse_the_impossible(spec, room)
    return Expectation(resources, room, costs, notes)


def refuse_the_impossible(spec: SweepSpec, room: Room) -> None:
    """Raise UserError where no extreme setting of the space has room, and so none at all has."""
    reason = ""
    for params in extremes(spec):
        reason = room.refuses(params)
        if not reason:
            return
    needs = [need for params in extremes(spec) if (need := room.memory_of(params)) is not None]
    raise UserError(
        f"space: every setting takes {gigabytes(min(needs))} of memory or more, and {gigabytes(room.memory_bytes)} are "
        f"allowed on {room.what}; lower batch_size, hidden_size or truncation_length"
    )


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
    """Return the settings with all ranges at their upper ends: hardly any takes more memory, other choices the same."""
    high = {
        name: parameter
        if parameter.choice is not None
        else parameter.model_copy(update={"step": None, **_top(parameter)})
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


def measured(spec: SweepSpec, sizes: Sizes | None, *, measure: Measure, remembered: Path, place: str) -> Costs:
    """Return the predictions for a sweep, measuring what is not remembered of the same place.

    `place` names machine, device and kind of process, by which what a process takes differs.
    """
    try:
        place = f"{place}, torch {version('torch')}"
    except PackageNotFoundError:
        place = f"{place}, torch unknown"
    with_torchs = may_run_torchs_kernels(spec)
    place = f"{place}, torch's kernels" if with_torchs else place
    place = f"{place}, large tensors apart" if may_hold_apart() else place
    known = _read(remembered).get(place, {})
    wanted = {cell: _mark(cell) for cell in cell_types(spec)}
    cells = {cell: of for cell, of in known.get("cells", {}).items() if known["marks"].get(cell) == _mark(cell)}
    missing = [cell for cell in wanted if cell not in cells]
    unknown: dict[str, str] = {}
    if sizes is not None and (missing or "base_bytes" not in known):
        found, unknown = measure(measure_torchs_here if with_torchs else measure_here, missing)
        cells |= found["cells"]
        known = {**found, "cells": cells, "marks": {cell: _mark(cell) for cell in cells}}
        if found["device"]:
            _write(remembered, {**_read(remembered), place: known})
    if sizes is None or "base_bytes" not in known:
        return Costs(None, ROUGH, unknown)
    return Costs(sizes, Calibration.from_plain(known), unknown)


def may_run_torchs_kernels(spec: SweepSpec) -> bool:
    """Tell whether trials may run torch's own kernels where others could be compiled, which take less memory."""
    kernel = spec.train.get("kernel", "torch" if "kernel" in spec.space else "auto")
    return kernel == "torch" or spec.resources.cpus > 1


def _mark(cell_type: str) -> str:
    """Return by what a cell, or how cells are measured, is known to have changed."""
    if ":" not in cell_type:
        return _mark_of_ours()
    origin = getattr(find_module(cell_type), "origin", None)
    with suppress(OSError, TypeError):
        return f"{_mark_of_ours()} {Path(str(origin)).stat().st_mtime_ns}"
    return _mark_of_ours()


@cache
def _mark_of_ours() -> str:
    folder = Path(workloads.__file__).parent
    files = [folder / "heap.py", *folder.glob("cost/*"), *folder.joinpath("models", "cells").rglob("*")]
    content = [path.read_bytes() for path in sorted(files) if path.suffix in (".py", ".c", ".h")]
    return hashlib.sha256(b"\0".join(content)).hexdigest()[:16]


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
