"""Measuring what cells take: small windows, run forward and back, while the process's memory is watched.

The process itself is asked rather than torch, on a CPU: what its allocator loses between blocks, the nodes of the graph
and what kernels take for themselves count as much as tensors do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workloads.cost.cells import Calibration, CellMemory, Line
from workloads.device import choose_device, give_back_memory, peak_memory_bytes, reset_peak_memory
from workloads.hyperparameters import Hyperparameters
from workloads.models.cells import make_cell
from workloads.models.cells.kernels import FEWEST_STEPS, TORCH, choose_kernel, give_up_room, room_bytes
from workloads.tasks.next_token import NextTokenTask
from workloads.training import train

WINDOWS = (
    (1024, 1, 8, 8),
    (256, 8, 128, 128),
    (128, 32, 128, 128),
    (128, 32, 16, 128),
    (128, 32, 32, 32),
    (256, 32, 64, 64),
    (32, 64, 256, 256),
    (4, 4, 512, 512),
)
"""Steps, batch, input and hidden size of the windows measured: large enough to be seen, small enough to be quick."""
CALLS = (32, 16, 256)
"""Calls of one step each, streams and hidden size, by which a call is measured."""
PARTS = 1e6
"""Bytes that a process gives and takes by chance: a window's bytes count by how far they stand above that."""


class Unmeasurable(RuntimeError):
    """This system does not say what a process takes, or takes at most since it was last asked."""


class _Nowhere:
    """A storage that keeps nothing."""

    def write(self, name: str, content: bytes) -> str:
        """Let go of `content`."""
        return name

    def read(self, uri: str) -> bytes:
        """Have nothing."""
        raise FileNotFoundError(uri)


def measure_base(device_name: str = "auto") -> Calibration:
    """Return what a process has that has trained; Unmeasurable where the system does not say.

    Something tiny is trained, evaluated and saved, so that all that is loaded when it is first needed is there; by the
    cell that loads least, since others tell what they load beside it.
    """
    device = choose_device(device_name)
    vocabulary = [str(number) for number in range(50)]
    tokens = np.arange(2000, dtype=np.int32) % len(vocabulary)
    arrays = {"train": tokens, "valid": tokens}
    tiny: dict[str, Any] = {"hidden_size": 32, "batch_size": 8, "sequence_steps": 2048, "evaluations": 2}
    h = Hyperparameters(cell_type="rnn", device=device_name, **tiny)
    task = NextTokenTask(h, arrays, {"vocabulary": vocabulary, "unit": "word"}, evaluation_streams=4)
    for _ in train(task, h, _Nowhere()):
        pass
    del task
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return Calibration(name, 0.0 if device.type == "cuda" else _now(device))


def measure_cell(cell_type: str, device_name: str = "auto", *, kernel: str = "auto") -> CellMemory:
    """Measure one cell type in a few windows: a second on one CPU thread.

    Raises Unmeasurable where the system does not say what a process takes, and whatever a user's own cell raises.
    """
    device = choose_device(device_name)
    # Where a gradient is given, torch loads what it needs to check its shape; training gives none.
    torch.autograd.backward(torch.zeros(1, requires_grad=True) * 1, torch.ones(1))
    rows: list[list[float]] = []
    found: list[tuple[float, float, float, float]] = []
    rooms: list[float] = []
    loaded = 0.0
    for steps, batch, input_size, hidden_size in WINDOWS:
        cell = _make_cell(cell_type, input_size, hidden_size, device, kernel)
        weights = sum(parameter.numel() for parameter in cell.parameters())
        inputs = torch.zeros(steps, batch, input_size, device=device, requires_grad=True)  # (time, batch, features)
        inputs.data.normal_()
        give_up_room()
        before = _now(device)
        _measure(cell, inputs[:FEWEST_STEPS], device)  # what is made once for each size
        if not found:
            loaded = max(_now(device) - before, 0.0)
        found.append(_measure(cell, inputs, device))
        rooms.append(room_bytes())
        pairs = steps * batch
        rows.append([weights, steps, pairs, pairs * input_size, pairs * hidden_size])
    kept, forward, backward, inference = (_fit(rows, column) for column in zip(*found, strict=True))
    room = _fit([[1.0, row[0]] for row in rows], rooms)
    call = _measure_calls(cell_type, device, kernel)
    return CellMemory(weights_of(cell_type), kept, forward, backward, inference, call, loaded, room)


def _measure(cell: nn.Module, inputs: Tensor, device: torch.device) -> tuple[float, float, float, float]:
    """Return the bytes kept, and at most taken forward, backward and without a graph, by one window."""
    before = _reset(device)
    with torch.no_grad():
        cell(inputs, None)
    inference = peak_memory_bytes(device) - before
    before = _reset(device)
    outputs, state = cell(inputs, None)
    forward, kept = peak_memory_bytes(device) - before, _resident(device) - before
    gradient = torch.ones_like(outputs)
    reset_peak_memory(device)
    torch.autograd.backward(outputs, gradient)
    backward = peak_memory_bytes(device) - before
    del outputs, gradient, state
    cell.zero_grad()
    inputs.grad = None
    return kept, forward, backward, inference


def _make_cell(cell_type: str, input_size: int, hidden_size: int, device: torch.device, kernel: str) -> nn.Module:
    cell = make_cell(cell_type, input_size, hidden_size).to(device)
    if kernel != TORCH:
        choose_kernel(cell, device)
    return cell


def _measure_calls(cell_type: str, device: torch.device, kernel: str) -> float:
    """Return the bytes that a call of one step keeps for the way back, for each stream and hidden unit."""
    calls, batch, size = CALLS
    cell = _make_cell(cell_type, size, size, device, kernel)
    inputs = torch.zeros(calls, batch, size, device=device)  # (time, batch, features)
    _measure(cell, inputs[:1].requires_grad_(), device)
    before, state, kept = _now(device), None, []
    for at in range(calls):
        outputs, state = cell(inputs[at : at + 1], state)
        kept.append((outputs, state))
    return max(_resident(device) - before, 0.0) / (calls * batch * size)


def _fit(rows: Sequence[Sequence[float]], found: Iterable[float]) -> Line:
    """Return the line, no part of it below 0, that comes closest to what was found, by relative error."""
    wanted = np.maximum(np.array(list(found), dtype=float), 0.0)
    matrix = np.array(rows, dtype=float)
    importance = 1 / (wanted + PARTS)
    used = list(range(matrix.shape[1]))
    line = np.zeros(matrix.shape[1])
    while used:
        solved = np.linalg.lstsq(matrix[:, used] * importance[:, None], wanted * importance, rcond=None)[0]
        if (solved >= 0).all():
            line[used] = solved
            break
        del used[int(np.argmin(solved * matrix[:, used].mean(0)))]
    return tuple(float(part) for part in line)


def weights_of(cell_type: str) -> Line:
    """Return the number of weights as a polynomial of input and hidden size."""
    sizes = [(8, 8), (16, 8), (8, 16), (16, 16), (24, 32), (40, 24)]
    counts = []
    with torch.device("meta"):
        for input_size, hidden_size in sizes:
            counts.append(sum(weight.numel() for weight in make_cell(cell_type, input_size, hidden_size).parameters()))
    rows = np.array([[1, i, h, i * h, h * h] for i, h in sizes], dtype=float)
    solved = np.linalg.lstsq(rows, np.array(counts, dtype=float), rcond=None)[0]
    return tuple(float(round(part, 6)) for part in solved)


def _reset(device: torch.device) -> float:
    now = _now(device)
    reset_peak_memory(device)
    return now


def _now(device: torch.device) -> float:
    """Return what is taken now, once what was freed has been given back."""
    if device.type == "cpu":
        give_back_memory()
    return _resident(device)


def _resident(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device))
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError) as error:
        raise Unmeasurable("this system does not say what a process takes") from error
    return float(pages * os.sysconf("SC_PAGE_SIZE"))
