"""Peak memory of one update on a whole sequence, with the way back truncated and with the whole graph kept.

Every figure is taken in a process of its own: what an update adds to the process, inputs and outputs included.
"""

from __future__ import annotations

import json
import subprocess
import sys

LENGTHS = (500, 2000, 8000)
TRUNCATION_LENGTH = 50


def main() -> None:
    """Measure and print both, one beside the other."""
    print(f"\nPeak memory of one update, LSTM, 2 layers of 128, batch 8, MB (truncation length {TRUNCATION_LENGTH})")
    print(f"{'directions':<12}{'steps':>8}{'truncated':>12}{'whole graph':>14}{'ratio':>8}")
    for bidirectional in (False, True):
        for length in LENGTHS:
            ours, whole = (measured(length, truncation, bidirectional) for truncation in (TRUNCATION_LENGTH, length))
            name = "both" if bidirectional else "forward"
            print(f"{name:<12}{length:>8}{ours:>12.0f}{whole:>14.0f}{ours / whole:>8.2f}")


def measured(length: int, truncation_length: int, bidirectional: bool) -> float:
    """Return the megabytes that an update adds, in a process of its own."""
    asked = json.dumps([length, truncation_length, bidirectional])
    done = subprocess.run([sys.executable, "-m", __name__, asked], capture_output=True, text=True, check=True)
    return float(done.stdout)


def update(length: int, truncation_length: int, bidirectional: bool) -> float:
    """Run one update and return the megabytes that it added to this process."""
    import torch

    from workloads.device import peak_memory_bytes, reset_peak_memory
    from workloads.hyperparameters import Hyperparameters
    from workloads.models.transcriber import Transcriber

    torch.set_num_threads(1)
    h = Hyperparameters(hidden_size=128, num_layers=2, bidirectional=bidirectional, truncation_length=truncation_length)
    network, cpu = Transcriber(h, input_size=40, symbols=30), torch.device("cpu")

    def once(steps: int) -> None:
        features, lengths = torch.randn(steps, 8, 40), torch.full((8,), steps)
        network(features, lengths).square().sum().backward()

    once(10)  # what is allocated once is not the update's
    reset_peak_memory(cpu)
    before = peak_memory_bytes(cpu)
    once(length)
    return (peak_memory_bytes(cpu) - before) / 1e6


if __name__ == "__main__":
    print(update(*json.loads(sys.argv[1])))
