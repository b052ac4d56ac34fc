"""What a machine has for trials: CPUs, GPUs and memory, read without loading torch."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

FOR_TRIALS = 0.9
"""Part of a machine's memory that trials may take; the rest is for the system and the driver."""
GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine, the smallest where there are several."""

    name: str
    cpus: int
    gpus: int = 0
    memory_bytes: float | None = None
    """For all its trials together; None where the system does not say."""
    gpu_memory_bytes: float | None = None
    """Of each GPU."""


def this_machine(memory_gb: float | None = None) -> Machine:
    """Return what this machine has; `memory_gb` is the user's own limit of what trials may take."""
    gpus = gpus_here()
    return Machine(
        platform.node(), cpus_here(), gpus, limited(memory_here(), memory_gb), gpu_memory_here() if gpus else None
    )


def limited(memory_bytes: float | None, memory_gb: float | None) -> float | None:
    """Return the smaller of what there is and what the user allows."""
    given = [each for each in (memory_bytes, None if memory_gb is None else memory_gb * 1e9) if each is not None]
    return min(given, default=None)


def memory_here() -> float | None:
    """Return the bytes that trials may take: of what is free now, or of this container's limit, the smaller."""
    found: list[float] = []
    try:
        available = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        found += [int(available[1]) * 1024.0] if available else []
    except OSError:
        if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            found.append(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    with contextlib.suppress(OSError, ValueError):  # the word `max` is no limit
        found.append(float(GROUP_LIMIT.read_text()))
    return FOR_TRIALS * min(found) if found else None


def own_memory_here() -> float | None:
    """Return the bytes of memory that this process alone takes, shared and mapped ones left out; None where unknown."""
    try:
        own = re.search(r"^RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(own[1]) * 1024.0 if own else None


def cpus_here() -> int:
    """Return the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus_here() -> int:
    """Return the NVIDIA GPUs that this process may use, without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([part for part in visible.split(",") if part.strip() not in ("", "-1")])
    folder = Path("/proc/driver/nvidia/gpus")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def gpu_memory_here() -> float | None:
    """Return the memory of the smallest GPU, as the driver's own tool says it; None where there is none."""
    asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30).stdout.split()
        return FOR_TRIALS * min(float(line) for line in lines) * 2**20
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
