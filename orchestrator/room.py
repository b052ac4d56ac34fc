"""Room for trials: the memory that they share, and what each of them takes of a machine under `resources: auto`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.machine import Machine
from orchestrator.spec import Resources
from workloads.protocol import Params

GPU_CONTEXT = 0.6e9
"""Bytes that a process takes of a GPU before it trains: CUDA's own, and its libraries'."""
MOST_SHARED = 16
"""Trials on one GPU, at most: beyond that they wait for each other more than they gain."""


MemoryOf = Callable[[Params], float | None]
"""Bytes that a trial of a setting takes at most; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Room:
    """The memory that trials share, and what each of them will take of it.

    Without `memory_of` everything fits. `together` trials share `memory_bytes` at most: of a machine, or of a GPU.
    """

    memory_of: MemoryOf = lambda _: None
    memory_bytes: float = math.inf
    together: int = 1
    what: str = "this machine"

    def refuses(self, params: Params) -> str:
        """Return in a line why a setting can never be trained here; empty where it can, or where nobody knows."""
        needed = self.memory_of(params)
        if needed is None or needed <= self.memory_bytes:
            return ""
        allowed = f"{gigabytes(self.memory_bytes)} allowed on {self.what}"
        return f"not started: {gigabytes(needed)} of memory predicted, {allowed}"

    def admits(self, params: Params, under_way: Sequence[Params]) -> bool:
        """Tell whether a trial can begin beside those under way, whichever of them share a machine."""
        needed = [self.memory_of(each) or 0.0 for each in (params, *under_way)]
        largest = sorted(needed, reverse=True)[: self.together]
        return not under_way or sum(largest) <= self.memory_bytes


def describe(resources: Resources) -> str:
    """Return what each trial takes in words."""
    return f"{resources.cpus:g} CPU{f' and {resources.gpus:.3g} GPU' if resources.gpus else ''}"


def allot(machine: Machine, trials: int, needs: Sequence[float]) -> Resources:
    """Choose what each trial takes, for `resources: auto`; `needs` are bytes of settings from all over the space.

    As many trials at once as a machine has CPUs, or memory for the middle one of those settings that fit at all; CPUs
    that would be idle become threads. Larger settings are kept from beginning beside others by `Room`.
    """
    trials = min(trials, machine.cpus)
    memory = machine.gpu_memory_bytes if machine.gpus else machine.memory_bytes
    beside = GPU_CONTEXT if machine.gpus else 0.0
    fitting = sorted(need + beside for need in needs if memory is not None and need + beside <= memory)
    room = int(memory // fitting[len(fitting) // 2]) if memory is not None and fitting else None
    if not machine.gpus:
        return Resources(cpus=max(machine.cpus // max(min(trials, room or trials), 1), 1))
    shared = room or 1
    shared = max(min(shared, trials // machine.gpus, MOST_SHARED), 1)
    return Resources(cpus=max(machine.cpus // (shared * machine.gpus), 1), gpus=1 / shared)


def room_for(machine: Machine, resources: Resources, memory_of: MemoryOf) -> Room:
    """Return the memory that trials of these resources share."""
    if resources.gpus:
        if machine.gpu_memory_bytes is None:
            return Room()
        together = max(int(1 / min(resources.gpus, 1) + 1e-9), 1)

        def on_gpu(params: Params) -> float | None:
            needed = memory_of(params)
            return None if needed is None else needed + GPU_CONTEXT

        return Room(on_gpu, machine.gpu_memory_bytes, together, f"a GPU of {machine.name}")
    if resources.memory_gb is not None:
        allowed = min(resources.memory_gb * 1e9, machine.memory_bytes or math.inf)
        return Room(memory_of, allowed, 1, "each trial's resources.memory_gb")
    if machine.memory_bytes is None:
        return Room()
    together = max(min(int(machine.cpus / resources.cpus + 1e-9), resources.workers or machine.cpus * 64), 1)
    return Room(memory_of, machine.memory_bytes, together, machine.name)


def gigabytes(size: float) -> str:
    """Return bytes in words: `340 MB`, `2.1 GB`."""
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
