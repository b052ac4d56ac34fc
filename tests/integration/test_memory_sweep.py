"""The problem whose right truncation length is known: a sweep finds it, and trials below it learn nothing."""

from __future__ import annotations

import pytest
import torch

from orchestrator.driver import Driver
from orchestrator.executors.local import LocalExecutor
from orchestrator.settings import Settings
from orchestrator.spec import spec_from
from orchestrator.tracking.base import NoTracker

pytestmark = pytest.mark.slow

LAG, SYMBOLS = 8, 8


def test_the_best_trial_looks_back_at_least_the_lag_and_those_below_stay_at_chance(sweep_settings: Settings) -> None:
    torch.set_num_threads(1)
    spec = spec_from(
        {
            "name": "lag",
            "workload": {"kind": "memory", "task": "copy", "lag": LAG, "symbols": SYMBOLS},
            "space": {"cell_type": ["gru", "lstm"], "truncation_length": {"int": [2, 32], "log": True}},
            "train": {"hidden_size": 32, "batch_size": 32, "learning_rate": 5e-3},
            "budget": {"trials": 10, "sequence_steps": 400_000, "evaluations": 4},
            "search": {"sampler": "qmc", "pruner": "none", "seed": 3},
        }
    )
    driver = Driver(sweep_settings, spec, executor=LocalExecutor(), tracker=NoTracker())
    with driver:
        list(driver.run())
    assert driver.outcome is not None
    assert driver.sweep is not None
    best = driver.outcome.best
    assert best is not None
    assert best.chosen["truncation_length"] >= LAG
    assert (best.value("valid_accuracy") or 0) > 0.95
    below = [trial for trial in driver.sweep.trials if trial.chosen["truncation_length"] < LAG]
    assert len(below) >= 3
    for trial in below:
        assert (trial.value("valid_accuracy") or 1) < 2 / SYMBOLS
