"""Compiled cells through time: this project's kernels beside torch's own, forward and backward, over sizes.

    python -m tests.benchmarks.recurrence --pairs 7

One layer on one CPU thread, inputs as wide as the layer, streams of 32, the state carried and detached; then the same
behind an embedding of as many vectors as Tiny Shakespeare has characters, as in a language model. Both sides take
turns in one process, so that what else the machine does falls on both alike; what counts is the thread's CPU time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import product
from statistics import median

import torch
from torch import Tensor, nn

from workloads.bptt.state import State, map_state
from workloads.models.cells import make_cell
from workloads.models.cells.classical import Embedded
from workloads.models.cells.compiled import kernels
from workloads.models.cells.kernels import COMPILED, TORCH, set_kernel

HIDDEN_SIZES = (64, 128, 256, 512)
WINDOWS = (32, 128)
CELL_TYPES = ("gru", "rnn", "rnn_relu", "layer_norm_lstm", "min_gru", "lstm")
EMBEDDED = ("gru", "rnn", "lstm")
CHARACTERS = 65
BATCH_SIZE = 32
MEASURED_S = 0.2
"""How long each measurement takes, about."""


def training(cell: nn.Module, hidden_size: int, window: int, *, is_embedded: bool) -> Callable[[int], float]:
    """Return a function that trains on so many windows and returns seconds a window."""
    weights = torch.randn(window, BATCH_SIZE, hidden_size)  # (time, batch, features)
    inputs = torch.randn(CHARACTERS, hidden_size) if is_embedded else torch.randn_like(weights)
    inputs.requires_grad_()
    given = Embedded(torch.randint(CHARACTERS, (window, BATCH_SIZE)), inputs) if is_embedded else inputs

    def run(windows: int) -> float:
        state: State = None
        began = time.thread_time()
        for _ in range(windows):
            cell.zero_grad(set_to_none=True)
            inputs.grad = None
            outputs, state = cell(given, state)
            torch.autograd.backward(outputs, weights)
            state = map_state(Tensor.detach, state)
        return (time.thread_time() - began) / windows

    return run


def measure(
    cell_type: str, hidden_size: int, window: int, *, pairs: int, is_embedded: bool = False
) -> list[tuple[float, float]]:
    """Return seconds a window of torch's own and of what is compiled, pair by pair, the order turning."""
    torch.manual_seed(0)
    sides = []
    for kernel in (TORCH, COMPILED):
        cell = make_cell(cell_type, hidden_size, hidden_size)
        set_kernel(cell, kernel)
        sides.append(training(cell, hidden_size, window, is_embedded=is_embedded))
    windows = 1
    for side in sides:
        side(2)  # warm up
        windows = max(windows, round(MEASURED_S / side(2)))
    found = []
    for number in range(pairs):
        if number % 2:
            own = sides[1](windows)
            found.append((sides[0](windows), own))
        else:
            bare = sides[0](windows)
            found.append((bare, sides[1](windows)))
    return found


def print_row(name: str, pairs: list[tuple[float, float]], operations: float) -> None:
    """Print the speeds of both sides and the median ratio with its spread."""
    bare, own = (operations / median(side) / 1e9 for side in zip(*pairs, strict=True))
    ratios = sorted(theirs / ours for theirs, ours in pairs)
    print(
        f"{name:<22} {bare:>9.1f} {own:>9.1f} {median(ratios):>7.2f}  ({ratios[0]:.2f} - {ratios[-1]:.2f})", flush=True
    )


def main(pairs: int = 5, hidden_sizes: tuple[int, ...] = HIDDEN_SIZES) -> None:
    """Measure and print one row for each cell type and size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    if kernels() is None:
        print("\nNo compiled kernels: this machine has no C compiler")
        return
    print(f"\nTraining, compiled kernels beside torch {torch.__version__}: one CPU thread, batch {BATCH_SIZE}, GFLOP/s")
    print(f"{'cell, hidden x window':<22} {'torch':>9} {'here':>9} {'ratio':>7}  (least - most of {pairs} pairs)")
    for cell_types, is_embedded in ((CELL_TYPES, False), (EMBEDDED, True)):
        if is_embedded:
            print(
                f"behind an embedding of {CHARACTERS}; GFLOP/s as if its vectors were inputs, which here they are not"
            )
        for cell_type, hidden_size, window in product(cell_types, hidden_sizes, WINDOWS):
            found = measure(cell_type, hidden_size, window, pairs=pairs, is_embedded=is_embedded)
            weights = make_cell(cell_type, hidden_size, hidden_size)
            entries = sum(weight.numel() for weight in weights.parameters() if weight.ndim == 2)
            print_row(f"{cell_type} {hidden_size} x {window}", found, 6.0 * entries * window * BATCH_SIZE)
    torch.set_num_threads(threads)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compiled cells beside torch's own, one CPU thread.")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--hidden-sizes", type=int, nargs="+", default=HIDDEN_SIZES)
    given = parser.parse_args()
    main(given.pairs, tuple(given.hidden_sizes))
