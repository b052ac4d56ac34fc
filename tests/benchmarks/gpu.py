"""How much of the time a GPU computes in training, by cell type, window and precision. Run by `make bench-gpu`.

It needs torch, numpy and a GPU, and nothing else of what a sweep needs. For each setting it trains the language model
on the Python reference, looks at a stretch of updates with torch's profiler, and prints

- the part of the time in which the device ran at least one kernel, the rest being what it waited for the CPU;
- whether the recurrent layers ran as cuDNN's (`aten::_cudnn_rnn`) or fell back to a kernel for every step;
- sequence steps per second without the profiler, and the training loss after as many updates with the same seed, so
  that a precision's effect on the result is seen beside its speed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

import workloads
from workloads.hyperparameters import read_hyperparameters
from workloads.protocol import Dataset
from workloads.tasks.next_token import NextTokenTask
from workloads.training import TrainingRun

FUSED_LAYERS = ("aten::_cudnn_rnn", "aten::mkldnn_rnn_layer")
"""What torch calls where a whole window of a layer is one call: on a GPU, on a CPU (LSTM alone)."""
CELLS = ("rnn", "gru", "lstm", "layer_norm_lstm", "min_gru", "lru")
PRECISIONS = ("fp32", "tf32", "bf16")
LENGTHS = (16, 64, 256)
WARM_UP, WATCHED, TIMED = 20, 30, 300
"""Updates: before anything is measured, under the profiler, and by the clock."""


@dataclass(frozen=True)
class Found:
    """What one setting showed."""

    busy: float | None
    """The part of the time in which the device ran a kernel; None on a CPU, which is the device itself."""
    is_fused: bool
    steps_per_second: float
    loss: float


def covered(stretches: Iterable[tuple[float, float]]) -> float:
    """Return how much of a line the stretches (begin, end) cover, counting once where they overlap."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(stretches):
        total += max(end - max(begin, reached), 0.0)
        reached = max(reached, end)
    return total


def measure(dataset: Dataset, params: dict[str, Any], *, updates: Sequence[int] = (WARM_UP, WATCHED, TIMED)) -> Found:
    """Train one setting for so many updates: to warm up, under the profiler, and by the clock."""
    h = read_hyperparameters(params)
    torch.manual_seed(h.seed)
    run = TrainingRun(NextTokenTask(h, dataset.arrays, dict(dataset.facts), evaluation_streams=16), h)
    steps = h.truncation_length * h.batch_size
    before, watched, timed = updates
    run.train_until(before * steps)
    is_gpu = run.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_gpu else [])]
    with profile(activities=activities) as seen:
        began = time.perf_counter()
        run.train_until((before + watched) * steps)
        wall_us = (time.perf_counter() - began) * 1e6
    events = seen.events() or []
    kernels = [(each.time_range.start, each.time_range.end) for each in events if each.device_type.name == "CUDA"]
    began = time.perf_counter()
    run.train_until((before + watched + timed) * steps)
    seconds = time.perf_counter() - began
    return Found(
        busy=covered(kernels) / wall_us if is_gpu else None,
        is_fused=any(each.name in FUSED_LAYERS for each in events),
        steps_per_second=timed * steps / seconds,
        loss=run.training_loss(),
    )


def main() -> None:
    """Print a table; exit 2 where there is no GPU, unless a CPU was asked for by name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=64)
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("bench-gpu: this machine has no GPU that torch can use; --device cpu shows what it would print")
        sys.exit(2)
    dataset = workloads.load("language_model", {}).prepare()
    name = torch.cuda.get_device_name() if given.device == "cuda" else "one CPU thread"
    torch.set_num_threads(1)
    print(f"Training on {name}, hidden size {given.hidden_size}, batch {given.batch_size}, torch {torch.__version__}")
    print("| cell | length | precision | device computes | layers fused | steps/s | loss |")
    print("| --- | ---: | --- | ---: | --- | ---: | ---: |")
    for cell, length, precision in product(CELLS, LENGTHS, PRECISIONS if given.device == "cuda" else PRECISIONS[:1]):
        found = measure(
            dataset,
            {
                "cell_type": cell,
                "truncation_length": length,
                "precision": precision,
                "device": given.device,
                "hidden_size": given.hidden_size,
                "batch_size": given.batch_size,
                "sequence_steps": 1_000_000_000,
                "evaluations": 1,
            },
        )
        busy = "-" if found.busy is None else f"{100 * found.busy:.0f} %"
        fused = "yes" if found.is_fused else "no"
        print(
            f"| {cell} | {length} | {precision} | {busy} | {fused} | {found.steps_per_second:,.0f} | {found.loss:.3f} |"
        )


if __name__ == "__main__":
    main()
