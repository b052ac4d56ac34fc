"""What all sides train: the same function, settings drawn from the same space, the same budget and seed.

Nothing but the standard library is imported here: every peer's environment reads this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WORKERS = 2
"""Trials at once, of one CPU each."""
METRIC = "valid_loss"
OURS, DEFAULT, TUNED = "bptt run", "Ray Tune, default", "Ray Tune, tuned"
TORCHS = "Ray Tune, tuned, torch's kernels"
"""As it is for those who have Ray Tune alone: its trials do without the kernels that this project compiles."""
THREADS, PROCESSES, BARE = "Optuna, 2 threads", "Optuna, 2 processes", "bare loop"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One sweep that every side runs."""

    name: str
    workload: Mapping[str, Any]
    """Kind and options, as in a sweep file."""
    space: Mapping[str, Mapping[str, Any]]
    """As in a sweep file: ranges of `float` and `int`."""
    train: Mapping[str, Any]
    """What no trial varies."""
    trials: int
    sequence_steps: int
    evaluations: int
    bars: Mapping[str, float]
    """What part of a peer's time ours may take at most."""
    prunes: bool = False
    """Whether bad trials are ended early: by ASHA on Ray Tune and by Optuna's successive halving, where whoever comes
    first to a rung goes on uncontested; ours pauses trials until others have come there (`delayed_promotion`), and
    chooses settings by forecasts of where curves end (`cost_aware`)."""
    reduction_factor: int = 3
    """One in so many goes on from a rung; the rungs are the first and the third evaluation everywhere."""


SCENARIOS = {
    "short": Scenario(
        "short",
        workload={"kind": "language_model", "text": "python-reference"},
        space={"learning_rate": {"float": [1e-3, 2e-2], "log": True}, "dropout": {"float": [0.0, 0.3]}},
        train={"cell_type": "lstm", "hidden_size": 64, "truncation_length": 32, "batch_size": 32},
        trials=100,
        sequence_steps=40_000,
        evaluations=2,
        bars={DEFAULT: 0.5, TUNED: 0.8},
    ),
    "shakespeare": Scenario(
        "shakespeare",
        workload={"kind": "language_model", "text": "tinyshakespeare"},
        space={
            "learning_rate": {"float": [1e-3, 3e-2], "log": True},
            "truncation_length": {"int": [8, 64], "log": True},
            "dropout": {"float": [0.0, 0.3]},
        },
        train={"cell_type": "lstm", "hidden_size": 128, "batch_size": 32},
        trials=24,
        sequence_steps=500_000,
        evaluations=5,
        bars={TUNED: 0.7},
        prunes=True,
    ),
}


def sweep_file(scenario: Scenario, seed: int) -> dict[str, Any]:
    """Return the scenario as a sweep file of ours, which may be JSON."""
    return {
        "name": scenario.name,
        "workload": dict(scenario.workload),
        "space": {name: dict(given) for name, given in scenario.space.items()},
        "train": dict(scenario.train),
        "objective": {"metric": METRIC},
        "budget": {
            "trials": scenario.trials,
            "sequence_steps": scenario.sequence_steps,
            "evaluations": scenario.evaluations,
        },
        "search": {
            "sampler": "cost_aware" if scenario.prunes else "tpe",
            "pruner": "delayed_promotion" if scenario.prunes else "none",
            "seed": seed,
        },
        "resources": {"cpus": 1, "workers": WORKERS},
    }
