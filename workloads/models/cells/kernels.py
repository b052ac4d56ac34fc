"""Which kernel a layer is run with, where there is a choice: torch's own, or one that was compiled on this machine."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from workloads.models.cells import compiled

TORCH, COMPILED = "torch", "compiled"
KERNELS = (TORCH, COMPILED)
FEWEST_STEPS = 4
"""For windows of fewer, laying out the weights takes as long as running with them."""


class Choosable:
    """A layer that has a compiled kernel beside torch's."""

    kernel = TORCH


def set_kernel(network: nn.Module, kernel: str) -> str:
    """Run the layers of `network` that there is a choice for with `kernel`, one of KERNELS, if it is there.

    Returns the kernel that they run with now. The first call on a kind of machine compiles for some seconds.
    """
    layers = [module for module in network.modules() if isinstance(module, Choosable)]
    if not layers or (kernel == COMPILED and compiled.kernels() is None):
        kernel = TORCH
    for layer in layers:
        layer.kernel = kernel
    return kernel


def choose_kernel(network: nn.Module, device: torch.device) -> str:
    """Run `network` on `device` with the kernels that are fastest there, and return which those are.

    What is compiled runs on one thread: where torch may take more, torch's own are left.
    """
    return set_kernel(network, TORCH if device.type != "cpu" or torch.get_num_threads() > 1 else COMPILED)


def covers(steps: int, batch: int, *tensors: Tensor) -> bool:
    """Tell whether compiled kernels can run a window of so many steps with these inputs, weights and states.

    In single precision on a CPU, and longer than a few steps; what is being traced is torch's.
    """
    is_traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    if is_traced or torch.is_autocast_enabled("cpu"):
        return False
    if steps < FEWEST_STEPS or not batch:
        return False
    return all(each.dtype == torch.float32 and each.device.type == "cpu" for each in tensors)


def loaded() -> compiled.Kernels:
    """Return the compiled kernels where they were chosen."""
    found = compiled.kernels()
    if found is None:
        raise RuntimeError("the compiled kernel was chosen where there is none")
    return found


class _Room(threading.local):
    """Memory of one thread; what was never touched before costs a kernel more than its numbers."""

    def __init__(self) -> None:
        self.floats = torch.empty(0)


_room = _Room()


def room(size: int) -> Tensor:
    """Return at least so many floats for a kernel to work in, the same ones from call to call of this thread."""
    if _room.floats.numel() < size:
        _room.floats = torch.empty(size, dtype=torch.float32)
    return _room.floats


def room_bytes() -> int:
    """Return the bytes that kernels have come to work in on this thread."""
    return _room.floats.numel() * _room.floats.element_size()


def give_up_room() -> None:
    """Let go of what kernels work in; the next one takes anew what it needs."""
    _room.floats = torch.empty(0)


def pointers(arrays: Sequence[Tensor | None]) -> list[int | None]:
    """Return where arrays lie in memory, as C has it."""
    return [None if array is None else array.data_ptr() for array in arrays]
