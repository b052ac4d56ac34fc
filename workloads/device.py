"""The device that a trial trains on: which, how precisely it computes, how much memory it took."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def choose_device(wanted: str, precision: str = "fp32") -> torch.device:
    """Return the device named `auto`, `cpu` or `cuda`; ValueError where it is not there or cannot do `precision`."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("train.device: cuda, but this worker has no GPU; set resources.gpus, or device: auto")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cpu" and precision == "bf16":
        # torch has no LSTM in bfloat16 on most CPUs, and fails deep inside the kernel.
        raise ValueError("train.precision: bf16 needs a GPU, and this worker has none; use fp32")
    return torch.device(wanted)


def allow_tf32(precision: str) -> None:
    """Let a GPU round the factors of matrix products to TensorFloat-32 where `precision` is tf32."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


@contextlib.contextmanager
def subnormals_as_zeros() -> Iterator[None]:
    """Have this thread's CPU meanwhile take numbers too small to have all their digits (in fp32 below 1.2e-38) for 0.

    Vanishing gradients pass through them on their way to 0, and some processors take a hundred cycles for each: updates
    of long windows took twice as long, horizons too.
    """
    are_zeros = not (torch.tensor([1e-40], dtype=torch.float32, device="cpu") * 1.0).item()
    if are_zeros or not torch.set_flush_denormal(True):
        yield
        return
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Return an array as a tensor on `device`; what a GPU works on meanwhile goes on, and so does the CPU."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    # Out of ordinary memory CUDA copies more than 64 KB only with the CPU waiting.
    return tensor.pin_memory().to(device, non_blocking=True)


def give_back_memory() -> None:
    """Have the C library return to the system what was freed, where it can: it keeps a part for later."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring peak memory anew, so that a reused worker does not report its largest trial for ever."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        give_back_memory()  # or what the trial before left behind would count
        # Linux resets a process's high-water mark on request (proc(5), clear_refs); elsewhere it only ever rises.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory taken since the reset: of the device on a GPU, else of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the state of torch's random number generators, for a checkpoint."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Go on drawing random numbers where `random_state` was taken."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
