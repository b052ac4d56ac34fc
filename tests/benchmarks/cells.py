"""Training speed of every cell type beside torch's own LSTM: sequence steps per second, forward and backward.

    python -m tests.benchmarks.cells --batch-size 32 --hidden-size 128 --window 64 --rounds 7

One layer, inputs as wide as the layer, one window after another with the state carried and detached. Every round
measures every cell, in an order that turns, so that what else the machine does falls on all alike. On a CPU in single
precision on one thread; on a GPU in fp32, tf32 and bf16. It needs torch and `workloads`, and no other package.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from workloads.bptt.state import State, map_state
from workloads.device import allow_tf32, choose_device
from workloads.models.cells import BUILTIN, make_cell

BESIDE = "lstm"
MEASURED_S = 0.2
"""How long each measurement takes, about."""


@dataclass(frozen=True, slots=True)
class Size:
    """What is run."""

    batch_size: int = 32
    hidden_size: int = 128
    window: int = 64


def training(cell_type: str, size: Size, device: torch.device, precision: str) -> Callable[[int], float]:
    """Return a function that trains on so many windows and returns sequence steps per second."""
    torch.manual_seed(0)
    cell = make_cell(cell_type, size.hidden_size, size.hidden_size).to(device)
    inputs = torch.randn(size.window, size.batch_size, size.hidden_size, device=device)  # (time, batch, features)
    weights = torch.randn_like(inputs)

    def run(windows: int) -> float:
        allow_tf32(precision)
        state: State = None
        _wait(device)
        began = time.perf_counter()
        for _ in range(windows):
            cell.zero_grad(set_to_none=True)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
                outputs, state = cell(inputs, state)
            (outputs * weights).sum().backward()
            state = map_state(Tensor.detach, state)
        _wait(device)
        return windows * size.window * size.batch_size / (time.perf_counter() - began)

    return run


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(size: Size, device: torch.device, precision: str, rounds: int) -> dict[str, list[float]]:
    """Return sequence steps per second of every cell type in every round."""
    cells = {cell_type: training(cell_type, size, device, precision) for cell_type in BUILTIN}
    windows = {}
    for cell_type, run in cells.items():
        run(2)  # warm up
        windows[cell_type] = max(1, round(MEASURED_S * run(2) / (size.window * size.batch_size)))
    found: dict[str, list[float]] = {cell_type: [] for cell_type in cells}
    names = list(cells)
    for number in range(rounds):
        turn = number % len(names)
        for cell_type in names[turn:] + names[:turn]:
            found[cell_type].append(cells[cell_type](windows[cell_type]))
    return found


def print_table(found: dict[str, list[float]]) -> None:
    """Print medians, spreads, and ratios to the LSTM of the same round."""
    print(f"{'cell':<16} {'steps/s':>12} {'least':>12} {'most':>12} {'ratio':>7}  (least - most)")
    for cell_type, speeds in found.items():
        ratios = sorted(speed / lstm for speed, lstm in zip(speeds, found[BESIDE], strict=True))
        print(
            f"{cell_type:<16} {median(speeds):>12,.0f} {min(speeds):>12,.0f} {max(speeds):>12,.0f} "
            f"{median(ratios):>7.3f}  ({ratios[0]:.3f} - {ratios[-1]:.3f})"
        )


def main(size: Size | None = None, rounds: int = 7) -> None:
    """Measure and print a table for each precision that the device has."""
    size, device = size or Size(), choose_device("auto")
    if device.type == "cpu":
        torch.set_num_threads(1)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "one CPU thread"
    for precision in ("fp32", "tf32", "bf16") if device.type == "cuda" else ("fp32",):
        print(
            f"\nCells, {precision}, {name}, torch {torch.__version__}: sequence steps per second of training, "
            f"batch {size.batch_size}, hidden {size.hidden_size}, window {size.window}, {rounds} rounds"
        )
        print_table(measure(size, device, precision, rounds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Training speed of every cell type beside torch's LSTM.")
    for option in ("batch_size", "hidden_size", "window"):
        parser.add_argument(f"--{option.replace('_', '-')}", type=int, default=getattr(Size(), option))
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    main(Size(given.batch_size, given.hidden_size, given.window), given.rounds)
