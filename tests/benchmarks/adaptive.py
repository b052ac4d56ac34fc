"""Adaptive truncation beside fixed lengths: on the copy task of its paper, and on a language model at equal time.

Aicher, Foti and Fox (2019), supplement: on the copy task with lag 10, two LSTM layers of 50, perplexities of 1.646 at a
fixed length of 5, 1.036 at 10, 1.043 at 30 and 1.022 adaptively. They trained by gradient descent; here it is Adam.
Run it with the machine to itself, by `make bench-adaptive`; the language model needs
`bptt data fetch tinyshakespeare`.

    python -m tests.benchmarks.adaptive --copy 30 --copy-steps 8e6   # lag 10 alone: one length beside adaptive
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch

import workloads

COPY: dict[str, Any] = {"hidden_size": 50, "num_layers": 2, "batch_size": 64, "learning_rate": 5e-3}
COPY_STEPS, COPY_LENGTHS, LONGEST = 3_000_000, (5, 10, 15, 20, 30), 30
TEXT: dict[str, Any] = {"hidden_size": 256, "batch_size": 32, "learning_rate": 2e-3}
TEXT_LENGTHS, TEXT_LONGEST, TEXT_STEPS = (4, 8, 16, 32, 64, 128), 128, 1_000_000
SEEDS = (0, 1, 2)


class Forgetful:
    """A storage for trainings that are never resumed."""

    def write(self, name: str, content: bytes) -> str:
        """Keep nothing."""
        return name

    def read(self, uri: str) -> bytes:
        """Find nothing."""
        raise FileNotFoundError(uri)


def adaptive(longest: int) -> dict[str, Any]:
    """Return the hyperparameters of adaptive truncation."""
    return {"truncation": "adaptive", "truncation_length": longest}


def copy_task(shortest_lag: int | None, *, lengths: Sequence[int] = COPY_LENGTHS, steps: int = COPY_STEPS) -> None:
    """Print perplexity and the length chosen in the end, for each length and adaptively."""
    workload = workloads.load("memory", {"task": "repeat", "lag": 10, "symbols": 4, "shortest_lag": shortest_lag})
    dataset = workload.prepare()
    lags = "10" if shortest_lag is None else f"{shortest_lag} to 10"
    print(f"\nCopy task, lag {lags}, {steps:,} steps, perplexity at the end and its best, mean of {len(SEEDS)} seeds")
    settings = {str(length): {"truncation_length": length} for length in lengths} | {"adaptive": adaptive(LONGEST)}
    for name, params in settings.items():
        last, best, chosen = [], [], []
        for seed in SEEDS:
            budget = {"sequence_steps": steps, "evaluations": 20, "seed": seed}
            metrics = [each.metrics for each in workload.train({**COPY, **params, **budget}, dataset, Forgetful())]
            last.append(math.exp(metrics[-1]["valid_loss"]))
            best.append(min(math.exp(each["valid_loss"]) for each in metrics))
            chosen.append(metrics[-1].get("truncation_length", params["truncation_length"]))
        figures = "".join(f"{mean(values):>8.3f} +- {stdev(values):.3f}" for values in (last, best))
        print(f"{name:<10}{figures}   length {chosen}")
        sys.stdout.flush()


def language_model() -> None:
    """Print the validation loss after equal wall time, for each length and adaptively."""
    workload = workloads.load("language_model", {"text": "tinyshakespeare"})
    dataset = workload.prepare()
    settings = {str(length): {"truncation_length": length} for length in TEXT_LENGTHS}
    settings["adaptive"] = adaptive(TEXT_LONGEST)
    found: dict[str, list[Curve]] = {name: [] for name in settings}
    for seed in SEEDS:  # seeds outside, so that a machine that slows down does so to all
        for name, params in settings.items():
            found[name].append(train(workload, dataset, {**TEXT, **params, "seed": seed}))
    # All have one budget of steps: the time is the one in which every one of them was done, or nearly so.
    seconds = min(mean(curve.times[-1] for curve in curves) for curves in found.values())
    print(f"\ntinyshakespeare, LSTM of 256, validation loss after {seconds:.0f} s of one thread, {len(SEEDS)} seeds")
    losses = {name: [curve.after(seconds) for curve in curves] for name, curves in found.items()}
    for name, values in losses.items():
        took = mean(curve.times[-1] for curve in found[name])
        print(f"{name:<10}{mean(values):>8.4f} +- {stdev(values):.4f}   {took:.0f} s for {TEXT_STEPS:,} steps")
    best = min((mean(values), name) for name, values in losses.items() if name != "adaptive")
    chosen = [curve.length for curve in found["adaptive"]]
    print(f"adaptive / best fixed ({best[1]}): {mean(losses['adaptive']) / best[0]:.4f}; lengths chosen {chosen}")


@dataclass(frozen=True, slots=True)
class Curve:
    """The validation loss of one training as time went on, everything counted."""

    times: list[float]
    losses: list[float]
    length: float | None
    """What an adaptive training chose in the end."""

    def after(self, seconds: float) -> float:
        """Return the loss at a time; between two evaluations it is taken to fall in a line."""
        return float(np.interp(seconds, self.times, self.losses))


def train(workload: Any, dataset: Any, params: Mapping[str, Any]) -> Curve:
    """Train to the end of the budget, timed by what its one thread had of the processor: others may use the machine."""
    budget = {"sequence_steps": TEXT_STEPS, "evaluations": 10}
    times, losses = [], []
    began = time.process_time()
    for progress in workload.train({**params, **budget}, dataset, Forgetful()):
        times.append(time.process_time() - began)
        losses.append(progress.metrics["valid_loss"])
    return Curve(times, losses, progress.metrics.get("truncation_length"))


def main(arguments: Sequence[str]) -> None:
    """Run all of it, some forty minutes, or the copy task of lag 10 with some lengths."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.adaptive")
    parser.add_argument("--copy", type=int, action="append", help="a fixed length; may be given again")
    parser.add_argument("--copy-steps", type=float, default=COPY_STEPS, help="sequence steps of each training")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if given.copy:
        copy_task(None, lengths=given.copy, steps=round(given.copy_steps))
        return
    copy_task(None)
    copy_task(5)
    language_model()


if __name__ == "__main__":
    main(sys.argv[1:])
