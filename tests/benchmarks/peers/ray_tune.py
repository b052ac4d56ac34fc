"""A peer: Ray Tune with OptunaSearch, ASHA and MLflowLoggerCallback, as its pages show them or tuned.

Tuned are what its pages and our trials found to save time: actors that are used again, a class in place of a function
(which Tune runs in a thread and asks through a queue), a checkpoint at a trial's end alone, no files of results beside
MLflow, no copies of its own state but the last, and no dashboard.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.peers.scenarios import METRIC, WORKERS, Scenario
from tests.benchmarks.peers.training import Asked, LatestCheckpoint, make_sampler, prepare, read_options, suggest, train
from workloads.protocol import Dataset

WAYS = ("default", "tuned")
TUNED_VARIABLES = {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_GLOBAL_CHECKPOINT_S": "3600"}
TUNED_RAY = {"include_dashboard": False, "log_to_driver": False}
NEVER = 10**6


def train_function(config: Mapping[str, Any], asked: Asked, dataset: Dataset) -> None:
    """Train a trial, reporting each evaluation with its checkpoint."""
    from ray import tune

    storage = LatestCheckpoint()
    for progress in train(asked, dataset, config, storage):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "checkpoint").write_bytes(storage.content)
            tune.report(dict(progress.metrics), checkpoint=tune.Checkpoint.from_directory(folder))


def trainable_class() -> Any:
    """Return the class of a trial that takes one setting after the other."""
    from ray import tune

    class Trial(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: Mapping[str, Any], asked: Asked, dataset: Dataset) -> None:
            self.asked, self.dataset = asked, dataset
            self.reset_config(config)

        def reset_config(self, new_config: Mapping[str, Any]) -> bool:
            self.latest = LatestCheckpoint()
            self.training = train(self.asked, self.dataset, new_config, self.latest)
            return True

        def step(self) -> dict[str, Any]:
            progress = next(self.training)
            return {**progress.metrics, "done": progress.evaluation + 1 == self.asked.scenario.evaluations}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            Path(checkpoint_dir, "checkpoint").write_bytes(self.latest.content)

        def load_checkpoint(self, checkpoint: Any) -> None:
            raise NotImplementedError("no trial is resumed here")

    return Trial


def draw(trial: Any, space: Mapping[str, Mapping[str, Any]]) -> None:
    """Let Optuna choose a setting; what is returned would be constants beside it."""
    suggest(trial, space)


def scheduler_of(scenario: Scenario) -> Any:
    """Return what ends bad trials early."""
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    if not scenario.prunes:
        return FIFOScheduler()
    return ASHAScheduler(
        metric=METRIC, mode="min", max_t=scenario.evaluations, reduction_factor=scenario.reduction_factor
    )


def run_config(asked: Asked, *, is_tuned: bool) -> Any:
    """Return where results and checkpoints go."""
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    # A function decides by itself when it reports a checkpoint; Tune refuses to be told.
    checkpoints = tune.CheckpointConfig(checkpoint_frequency=NEVER, checkpoint_at_end=True) if is_tuned else None
    return tune.RunConfig(
        name="peer",
        storage_path=str(asked.folder),
        verbose=0,
        checkpoint_config=checkpoints,
        callbacks=[MLflowLoggerCallback(tracking_uri=asked.tracking_uri, experiment_name="peer")],
    )


def run(asked: Asked) -> None:
    """Run the sweep; RuntimeError where a trial failed."""
    scenario, is_tuned = asked.scenario, asked.way == "tuned"
    os.environ.update(TUNED_VARIABLES if is_tuned else {})  # before Ray is imported: it reads its variables once
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    ray.init(num_cpus=WORKERS, **(TUNED_RAY if is_tuned else {}))
    tuner = tune.Tuner(
        tune.with_parameters(trainable_class() if is_tuned else train_function, asked=asked, dataset=prepare(scenario)),
        tune_config=tune.TuneConfig(
            num_samples=scenario.trials,
            max_concurrent_trials=WORKERS,
            search_alg=OptunaSearch(
                partial(draw, space=scenario.space),
                metric=METRIC,
                mode="min",
                sampler=make_sampler(asked.seed),
            ),
            scheduler=scheduler_of(scenario),
            reuse_actors=is_tuned,
        ),
        run_config=run_config(asked, is_tuned=is_tuned),
    )
    results = tuner.fit()
    if len(results) != scenario.trials or results.errors:
        raise RuntimeError(f"Ray Tune finished {len(results)} of {scenario.trials} trials: {results.errors}")


if __name__ == "__main__":
    run(read_options(ways=WAYS))
