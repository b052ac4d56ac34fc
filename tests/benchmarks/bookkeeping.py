"""The cost of the machine round the training: trials that do nothing, here and on Ray Tune, with MLflow on SQLite.

Each side runs the same number of trials with one evaluation each and with thirty each; what an evaluation costs is the
slope, what a trial costs is the rest. Starting Ray, which both sides do once, is not counted; waiting at the end until
MLflow has everything is. Ray Tune runs OptunaSearch and MLflowLoggerCallback, by default and with reuse_actors.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

from orchestrator.driver import Driver
from orchestrator.executors import make_executor
from orchestrator.settings import Settings
from orchestrator.tracking import open_tracker
from tests.orchestrator.conftest import make_spec

WORKERS = 2
FEW, MANY = 1, 30
OUR_TRIALS, PEER_TRIALS = 150, 8
"""Ours are so short that many are needed for what happens once, such as the last look at MLflow, not to count."""
ROUNDS = 3


def ours(trials: int, evaluations: int) -> float:
    """Return the seconds that our sweep of empty trials takes, tracking included, Ray's start left out."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load({"runs": folder}, environ={})
        spec = make_spec(
            space={"quality": {"float": [0.1, 1.0]}},
            budget={"trials": trials, "sequence_steps": 30_000, "evaluations": evaluations},
            search={"sampler": "tpe", "pruner": "none"},
        )
        driver = Driver(settings, spec, executor=make_executor(workers=WORKERS), tracker=open_tracker(settings))
        with driver:
            wait_until_warm(driver, Path(folder, "artifacts"))
            began = time.perf_counter()
            for _ in driver.sweep.run():  # type: ignore[union-attr]
                pass
            driver.tracker.close({"state": "finished", "message": "", "best": None, "model": None}, 120)
            return time.perf_counter() - began


def wait_until_warm(driver: Driver, artifacts: Path) -> None:
    """Wait for the workers' processes and for MLflow's, which are started behind the driver's back."""
    # The artifacts' folder is made for the sweep file, which is written last when the runs are opened.
    while driver.executor.slots < WORKERS or not artifacts.exists():
        driver.executor.wait(0.05)  # no trial is under way, so only workers can come
        time.sleep(0.05)


def ray_tune(trials: int, evaluations: int, *, reuse_actors: bool) -> float:
    """Return the seconds that Ray Tune takes for the same."""
    from orchestrator.executors.cluster import connect

    connect("")  # before Ray is imported: it reads its variables once
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    def nothing(config: dict[str, Any]) -> None:
        for evaluation in range(config["evaluations"]):
            tune.report({"valid_loss": config["quality"] / (evaluation + 1)})

    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            nothing,
            param_space={"quality": tune.uniform(0.1, 1.0), "evaluations": evaluations},
            tune_config=tune.TuneConfig(
                metric="valid_loss",
                mode="min",
                num_samples=trials,
                max_concurrent_trials=WORKERS,
                search_alg=OptunaSearch(),
                reuse_actors=reuse_actors,
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                callbacks=[MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="peer")],
            ),
        )
        began = time.perf_counter()
        results = tuner.fit()
        seconds = time.perf_counter() - began
        ray.shutdown()
        if len(results) != trials or results.errors:
            raise RuntimeError(f"Ray Tune finished {len(results)} of {trials} trials: {results.errors}")
        return seconds


def costs(side: Any, trials: int) -> tuple[float, float]:
    """Return milliseconds per trial and per evaluation."""
    few, many = side(trials, FEW), side(trials, MANY)
    evaluation = (many - few) / ((MANY - FEW) * trials)
    return (few / trials - FEW * evaluation) * 1000, evaluation * 1000


def main() -> None:
    """Print a table: the median of the rounds, and the spread."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    sides: dict[str, tuple[Any, int]] = {
        "ours": (ours, OUR_TRIALS),
        "Ray Tune": (lambda trials, evaluations: ray_tune(trials, evaluations, reuse_actors=False), PEER_TRIALS),
        "  reuse_actors": (lambda trials, evaluations: ray_tune(trials, evaluations, reuse_actors=True), PEER_TRIALS),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, (side, trials) in sides.items():
            with contextlib.redirect_stdout(io.StringIO()):
                found[name].append(costs(side, trials))
    print(f"\nTrials that do nothing, {WORKERS} workers, MLflow on SQLite, {ROUNDS} rounds: median (least - most)")
    print(f"{'':<15} {'ms per trial':>26} {'ms per evaluation':>26}")
    for name, rounds in found.items():
        columns = []
        for values in (sorted(pair[0] for pair in rounds), sorted(pair[1] for pair in rounds)):
            columns.append(f"{median(values):9.1f} ({values[0]:.1f} - {values[-1]:.1f})")
        print(f"{name:<15} {columns[0]:>26} {columns[1]:>26}")
