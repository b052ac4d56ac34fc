"""Adaptive truncation beside fixed lengths: on the copy task of its paper, and on a language model at equal wall time.

Aicher, Foti and Fox (2019), supplement: on the copy task with lag 10, two LSTM layers of 50, perplexities of 1.646 at a
fixed length of 5, 1.036 at 10, 1.043 at 30 and 1.022 adaptively. They trained by gradient descent; here it is Adam.
Run it with the machine to itself, by `make bench-adaptive`; the language model needs
`bptt data fetch tinyshakespeare`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch

import workloads

COPY: dict[str, Any] = {"hidden_size": 50, "num_layers": 2, "batch_size": 64, "learning_rate": 5e-3}
COPY_STEPS, COPY_LENGTHS, LONGEST = 3_000_000, (5, 10, 15, 20, 30), 30
TEXT: dict[str, Any] = {"hidden_size": 256, "batch_size": 32, "learning_rate": 2e-3}
TEXT_LENGTHS, TEXT_LONGEST, TEXT_SECONDS, TEXT_STEPS = (4, 8, 16, 32, 64, 128), 128, 45.0, 1_000_000
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


def copy_task(shortest_lag: int | None) -> None:
    """Print perplexity and the length chosen in the end, for each length and adaptively."""
    workload = workloads.load("memory", {"task": "repeat", "lag": 10, "symbols": 4, "shortest_lag": shortest_lag})
    dataset = workload.prepare()
    lags = "10" if shortest_lag is None else f"{shortest_lag} to 10"
    print(
        f"\nCopy task, lag {lags}, {COPY_STEPS:,} steps, perplexity at the end and its best, mean of {len(SEEDS)} seeds"
    )
    settings = {str(length): {"truncation_length": length} for length in COPY_LENGTHS} | {"adaptive": adaptive(LONGEST)}
    for name, params in settings.items():
        last, best, chosen = [], [], []
        for seed in SEEDS:
            budget = {"sequence_steps": COPY_STEPS, "evaluations": 20, "seed": seed}
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
    print(f"\ntinyshakespeare, LSTM of 256, {TEXT_SECONDS:g} s each, validation loss, mean of {len(SEEDS)} seeds")
    settings = {str(length): {"truncation_length": length} for length in TEXT_LENGTHS}
    settings["adaptive"] = adaptive(TEXT_LONGEST)
    found: dict[str, list[float]] = {name: [] for name in settings}
    lengths: list[float] = []
    for seed in SEEDS:  # seeds outside, so that a machine that slows down does so to all
        for name, params in settings.items():
            loss, metrics = train_for(TEXT_SECONDS, workload, dataset, {**TEXT, **params, "seed": seed})
            found[name].append(loss)
            lengths += [metrics["truncation_length"]] if name == "adaptive" else []
    for name, losses in found.items():
        print(f"{name:<10}{mean(losses):>8.4f} +- {stdev(losses):.4f}")
    best = min((mean(losses), name) for name, losses in found.items() if name != "adaptive")
    print(f"adaptive / best fixed ({best[1]}): {mean(found['adaptive']) / best[0]:.4f}; lengths chosen {lengths}")


def train_for(
    seconds: float, workload: Any, dataset: Any, params: Mapping[str, Any]
) -> tuple[float, Mapping[str, float]]:
    """Train until the time is over, everything counted; return the validation loss at that time and the last metrics.

    Between the evaluations before and after, the loss is taken to fall in a line.
    """
    budget = {"sequence_steps": TEXT_STEPS, "evaluations": 30}
    times, losses = [], []
    began = time.perf_counter()
    for progress in workload.train({**params, **budget}, dataset, Forgetful()):
        times.append(time.perf_counter() - began)
        losses.append(progress.metrics["valid_loss"])
        if times[-1] > seconds:
            return float(np.interp(seconds, times, losses)), progress.metrics
    raise RuntimeError(f"all of {TEXT_STEPS:,} steps were done in {times[-1]:.0f} s; raise TEXT_STEPS")


def main() -> None:
    """Run all of it, some forty minutes."""
    torch.set_num_threads(1)
    copy_task(None)
    copy_task(5)
    language_model()


if __name__ == "__main__":
    main()
