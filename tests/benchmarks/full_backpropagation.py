"""Full backpropagation through time with bounded memory beside keeping the whole graph: memory and time of one update.

Every figure is taken in a process of its own. Memory is what an update adds to a process that has run the same chunk
before: what torch allocates once for a shape is no update's. Times are medians of five updates, the two sides in turn.
"""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median

PAIRS, REPEATS = 3, 5
LENGTH, BATCH, HIDDEN, BUDGET_MB = 1000, 64, 256, 30.0
LONG = 100_000


def main() -> None:
    """Measure and print both, one beside the other, and the memory of a very long sequence."""
    print(f"\nOne update over {LENGTH} steps, LSTM of {HIDDEN}, batch {BATCH}, memory_budget_mb {BUDGET_MB:g}")
    print(f"{'':<14}{'MB':>8}{'s':>8}")
    sides = (None, BUDGET_MB)
    pairs = [[measured(LENGTH, BATCH, HIDDEN, budget) for budget in sides] for _ in range(PAIRS)]
    for name, side in (("whole graph", 0), ("bounded", 1)):
        print(f"{name:<14}{median(p[side]['mb'] for p in pairs):>8.1f}{median(p[side]['s'] for p in pairs):>8.2f}")
    memory, times = ([ours[key] / whole[key] for whole, ours in pairs] for key in ("mb", "s"))
    spread = f"{min(times):.2f} to {max(times):.2f} in {PAIRS} pairs"
    print(f"{'ratio':<14}{median(memory):>8.3f}{median(times):>8.2f}   {spread}")
    long = measured(LONG, 8, 64, 0.0)
    print(f"{LONG:,} steps, LSTM of 64, batch 8: the process, torch and data included, took {long['peak']:.0f} MB")


def measured(*asked: float | None) -> dict[str, float]:
    """Return the megabytes that an update adds, the seconds that it takes and the process's peak."""
    command = [sys.executable, "-m", __name__, json.dumps(asked)]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def update(length: int, batch: int, hidden: int, budget_mb: float | None) -> dict[str, float]:
    """Run updates in this process. With no budget the whole graph is kept; one of 0 asks for as little as there is."""
    import time

    import torch
    from torch import Tensor

    from workloads.bptt.chunks import Chunks
    from workloads.bptt.full import plan_chunks
    from workloads.bptt.graph_bytes import step_bytes
    from workloads.bptt.windows import Window, backpropagate
    from workloads.device import peak_memory_bytes, reset_peak_memory
    from workloads.hyperparameters import Hyperparameters
    from workloads.models.recurrent import RecurrentNetwork

    torch.set_num_threads(1)
    network, cpu = (
        RecurrentNetwork(Hyperparameters(hidden_size=hidden), input_size=16, output_size=16),
        torch.device("cpu"),
    )
    inputs, targets = torch.randn(length, batch, 16), torch.randn(length, batch, 16)

    def loss(outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        return (outputs - targets).square().sum(), targets.numel()

    chunks = None
    if budget_mb is not None:
        chunks = plan_chunks(length, step_bytes(network, network, inputs, batch_size=batch), 1e6 * budget_mb or None)

    def once(steps: int, chunks: Chunks | None) -> float:
        began = time.perf_counter()
        network.zero_grad()
        backpropagate(network, loss, Window(inputs[:steps], targets[:steps], chunks=chunks), None)
        return time.perf_counter() - began

    size = 10 if chunks is None else chunks.bounds[1]
    once(3 * size, Chunks.of(3 * size, size))
    reset_peak_memory(cpu)
    before = peak_memory_bytes(cpu)
    once(length, chunks)
    peak = peak_memory_bytes(cpu)
    times = [once(length, chunks) for _ in range(REPEATS if length == LENGTH else 1)]
    return {"mb": (peak - before) / 1e6, "s": median(times), "peak": peak / 1e6}


if __name__ == "__main__":
    length, batch, hidden, budget_mb = json.loads(sys.argv[1])
    print(json.dumps(update(length, batch, hidden, budget_mb)))
