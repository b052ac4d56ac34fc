"""Compiled cells through time: this project's kernels beside torch's own, forward and backward, over sizes.

    python -m tests.benchmarks.recurrence --pairs 7

One layer on one CPU thread, streams of 32, the state carried and detached, on each of the inputs that layers have: few
numbers a step, which need no gradient, as series and speech have; an embedding of as many vectors as Tiny Shakespeare
has characters; and as many numbers as the layer has units, as above another layer. Both sides take turns in one
process, so that what else the machine does falls on both alike; what counts is the thread's CPU time. First comes what
torch's product of two large matrices comes to on that thread: what is made of products is hardly faster.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
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
CLASSICAL = ("gru", "rnn", "lstm")
BATCH_SIZE = 32
MEASURED_S = 0.2
"""How long each measurement takes, about."""
LARGE = 1024
"""Rows and columns of the large matrices."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a layer reads."""

    words: str
    cell_types: tuple[str, ...] = CLASSICAL
    features: int | None = None
    """As many as the layer has units where None."""
    characters: int = 0
    """So many embedded ones; 0: numbers."""
    need_gradient: bool = True


INPUTS = (
    Inputs("a series of 8 features", features=8, need_gradient=False),
    Inputs("speech of 40 features", features=40, need_gradient=False),
    Inputs(
        "behind an embedding of 65 characters; GFLOP/s as if its vectors were inputs, which here they are not",
        characters=65,
    ),
    Inputs(
        "as many features as units, above another layer",
        cell_types=("gru", "rnn", "rnn_relu", "layer_norm_lstm", "min_gru", "lstm"),
    ),
)


def training(cell: nn.Module, kind: Inputs, features: int, hidden_size: int, window: int) -> Callable[[int], float]:
    """Return a function that trains on so many windows and returns seconds a window."""
    weights = torch.randn(window, BATCH_SIZE, hidden_size)  # (time, batch, features)
    inputs = torch.randn(kind.characters, features) if kind.characters else torch.randn(window, BATCH_SIZE, features)
    inputs.requires_grad_(kind.need_gradient)
    numbers = torch.randint(kind.characters, (window, BATCH_SIZE)) if kind.characters else None
    given = inputs if numbers is None else Embedded(numbers, inputs)

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
    cell_type: str, kind: Inputs, hidden_size: int, window: int, *, pairs: int
) -> tuple[list[tuple[float, float]], float]:
    """Return seconds a window of torch's own and of what is compiled, pair by pair, the order turning; and its work.

    The work is in multiplications and additions, of weights alone.
    """
    torch.manual_seed(0)
    features = kind.features or hidden_size
    sides = []
    for kernel in (TORCH, COMPILED):
        cell = make_cell(cell_type, features, hidden_size)
        set_kernel(cell, kernel)
        sides.append(training(cell, kind, features, hidden_size, window))
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
    entries = sum(weight.numel() for weight in cell.parameters() if weight.ndim == 2)
    # The gates' weights of the inputs have as many rows as those of the state; without a gradient of the inputs one of
    # three products with them is not made.
    spared = 0 if kind.need_gradient else entries * features / (features + hidden_size)
    return found, 2.0 * (3 * entries - spared) * window * BATCH_SIZE


def large_product(pairs: int) -> float:
    """Return the GFLOP/s of torch's product of large matrices, the best of as many tries."""
    left, right = torch.randn(LARGE, LARGE), torch.randn(LARGE, LARGE)
    seconds = []
    for _ in range(pairs):
        began = time.thread_time()
        for _ in range(10):
            left @ right
        seconds.append((time.thread_time() - began) / 10)
    return 2.0 * LARGE**3 / min(seconds) / 1e9


def print_row(name: str, pairs: list[tuple[float, float]], operations: float) -> None:
    """Print the speeds of both sides and the median ratio with its spread."""
    bare, own = (operations / median(side) / 1e9 for side in zip(*pairs, strict=True))
    ratios = sorted(theirs / ours for theirs, ours in pairs)
    print(
        f"{name:<22} {bare:>9.1f} {own:>9.1f} {median(ratios):>7.2f}  ({ratios[0]:.2f} - {ratios[-1]:.2f})", flush=True
    )


def main(pairs: int = 5, hidden_sizes: tuple[int, ...] = HIDDEN_SIZES) -> None:
    """Measure and print one row for each kind of inputs, cell type and size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    if kernels() is None:
        print("\nNo compiled kernels: this machine has no C compiler")
        return
    print(f"\nTraining, compiled kernels beside torch {torch.__version__}: one CPU thread, batch {BATCH_SIZE}, GFLOP/s")
    print(f"torch's product of two matrices of {LARGE} x {LARGE}: {large_product(pairs):.1f}")
    print(f"{'cell, hidden x window':<22} {'torch':>9} {'here':>9} {'ratio':>7}  (least - most of {pairs} pairs)")
    for kind in INPUTS:
        print(kind.words)
        for cell_type, hidden_size, window in product(kind.cell_types, hidden_sizes, WINDOWS):
            found, operations = measure(cell_type, kind, hidden_size, window, pairs=pairs)
            print_row(f"{cell_type} {hidden_size} x {window}", found, operations)
    torch.set_num_threads(threads)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compiled cells beside torch's own, one CPU thread.")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--hidden-sizes", type=int, nargs="+", default=HIDDEN_SIZES)
    given = parser.parse_args()
    main(given.pairs, tuple(given.hidden_sizes))
