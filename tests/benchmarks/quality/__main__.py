"""Time to quality: after what part of its budget does a search have what TPE with Hyperband has after all?

Workloads were trained for real at each setting of a grid (`record.py`); sweeps over them are replayed by the
sweep loop, samplers and pruners as they are, on a clock of recorded seconds (`replay.py`). Quality is the last value of
the best trial trained to its end, which is what a sweep registers. Each seed's target is what TPE with Hyperband had
found after 60 trials; every other search may begin as many trials as it likes, until that many seconds of workers are
spent.

    python -m tests.benchmarks.quality             # ten seeds
    python -m tests.benchmarks.quality --seeds 3 --workers 4 --nearest
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from orchestrator.trial import TrialState
from tests.benchmarks.quality.replay import Limits, Replayed, replay
from tests.benchmarks.quality.table import HERE, Table

WORKLOADS = sorted(path.name.removesuffix(".json.gz") for path in HERE.glob("*.json.gz"))
TRIALS, MOST_TRIALS = 60, 400
BASELINE = {"sampler": "tpe", "pruner": "hyperband"}
METHODS: dict[str, dict[str, Any]] = {
    "tpe, successive_halving (ASHA)": {"sampler": "tpe", "pruner": "successive_halving"},
    "random, successive_halving": {"sampler": "random", "pruner": "successive_halving"},
    "tpe, promotion": {"sampler": "tpe", "pruner": "promotion"},
    "tpe, curves": {"sampler": "tpe", "pruner": "curves"},
    "cost_aware, hyperband": {"sampler": "cost_aware", "pruner": "hyperband"},
    "cost_aware, promotion": {"sampler": "cost_aware", "pruner": "promotion"},
    "cost_aware, curves": {"sampler": "cost_aware", "pruner": "curves"},
}
WARM = "cost_aware, curves, from"
"""The same, after a sweep of 20 trials with a third of the sequence steps, whose time is counted."""


def main(arguments: Sequence[str]) -> None:
    """Print a table for each workload."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.quality")
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first-seed", type=int, default=0, help="those that searches were made with are 0 to 59")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--nearest", action="store_true", help="answer from the nearest recording, not from between")
    parser.add_argument("--workload", choices=WORKLOADS, action="append", help="only this one")
    given = parser.parse_args(arguments)
    for name in given.workload or WORKLOADS:
        compare(
            name,
            Table.load(name, is_nearest=given.nearest),
            seeds=range(given.first_seed, given.first_seed + given.seeds),
            workers=given.workers,
        )


def compare(name: str, table: Table, *, seeds: Sequence[int], workers: int) -> None:
    """Replay every method with every seed on one workload."""
    base = [replay(table, {**BASELINE, "seed": seed}, Limits(TRIALS, workers)) for seed in seeds]
    budget, best = np.median([one.spent for one in base]), np.median([one.best for one in base])
    print(f"\n{name}: tpe, hyperband spend {budget:.0f} s of {workers} workers on {TRIALS} trials and find {best:.4f}")
    columns = f"{'median':>8}{'quartiles':>16}{'never':>7}{'trials':>8}{'complete':>10}"
    print(f"{'part of that time until as good':<34}{columns}")
    show("tpe, hyperband themselves", base, base)
    for label, search in METHODS.items():
        found = [
            replay(table, {**search, "seed": seed}, Limits(MOST_TRIALS, workers, one.spent))
            for seed, one in zip(seeds, base, strict=True)
        ]
        show(label, found, base)
    show(
        WARM,
        [
            begun_warm(table, seed, Limits(MOST_TRIALS, workers, one.spent))
            for seed, one in zip(seeds, base, strict=True)
        ],
        base,
    )


def begun_warm(table: Table, seed: int, limits: Limits) -> Replayed:
    """Sweep over a third of the sequence steps first, then begin with the five best settings found there."""
    before = replay(
        table.shortened(table.evaluations // 3), {**BASELINE, "seed": seed + 1000}, Limits(20, limits.workers)
    )
    complete = [trial for trial in before.trials if trial.state is TrialState.COMPLETE]
    best = sorted(complete, key=lambda trial: trial.value("valid_loss") or 0.0)[:5]
    search = {**METHODS[WARM.removesuffix(", from")], "seed": seed}
    left = replace(limits, seconds=limits.seconds - before.spent)
    found = replay(table, search, left, wanted=[dict(trial.chosen) for trial in best])
    found.found = [(before.spent + spent, value) for spent, value in found.found]
    return found


def show(label: str, found: Sequence[Replayed], base: Sequence[Replayed]) -> None:
    """Print how long it took, in parts of the budget; where it never came to that, that is longer than all."""
    parts = [one.reaches(other.best) / other.spent for one, other in zip(found, base, strict=True)]
    low, middle, high = (f"{value:.2f}" if value < np.inf else "> 1" for value in quartiles(parts))
    trials = np.median([len(one.trials) for one in found])
    complete = np.median([sum(trial.state is TrialState.COMPLETE for trial in one.trials) for one in found])
    never = sum(part == np.inf for part in parts)
    print(f"{label:<34}{middle:>8}{f'{low} to {high}':>16}{never:>7}{trials:>8.0f}{complete:>10.0f}", flush=True)


def quartiles(parts: Sequence[float]) -> list[float]:
    """Return quartiles of values some of which may be infinite: the middle of two is infinite if one of them is."""
    ordered = sorted(parts)
    places = [share * (len(ordered) - 1) for share in (0.25, 0.5, 0.75)]
    return [(ordered[int(place)] + ordered[int(np.ceil(place))]) / 2 for place in places]


if __name__ == "__main__":
    main(sys.argv[1:])
