"""A peer: Optuna without Ray, in threads of one process or in processes on one database; MLflow through its client.

Threads share the interpreter's lock and need no database; processes share a database on SQLite.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tests.benchmarks.peers.forking import fork, take
from tests.benchmarks.peers.scenarios import METRIC, WORKERS, Scenario
from tests.benchmarks.peers.training import Asked, LatestCheckpoint, make_sampler, prepare, read_options, suggest, train
from workloads.protocol import Dataset, Progress

if TYPE_CHECKING:
    import optuna

WAYS = ("threads", "processes")
PATIENCE_S = 60
"""How long one process waits for another's lock on a database."""


class TrackedRun:
    """One trial's run in MLflow, written with as few calls as there are evaluations."""

    def __init__(self, client: Any, experiment: str, chosen: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        self.client = client
        self.id = client.create_run(experiment).info.run_id
        client.log_batch(self.id, params=[Param(name, str(value)) for name, value in chosen.items()])

    def log(self, progress: Progress) -> None:
        """Write what an evaluation gave."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, progress.sequence_steps) for name, value in progress.metrics.items()]
        self.client.log_batch(self.id, metrics=metrics)

    def end(self, status: str) -> None:
        """Say how it ended."""
        self.client.set_terminated(self.id, status)


def objective(asked: Asked, dataset: Dataset, client: Any, experiment: str) -> Callable[[optuna.Trial], float]:
    """Return the function that Optuna is given."""
    import optuna

    def train_trial(trial: optuna.Trial) -> float:
        chosen = suggest(trial, asked.scenario.space)
        run, storage, is_pruned = TrackedRun(client, experiment, chosen), LatestCheckpoint(), False
        for progress in train(asked, dataset, chosen, storage):
            run.log(progress)
            loss = progress.metrics[METRIC]
            trial.report(loss, progress.evaluation + 1)
            is_last = progress.evaluation + 1 == asked.scenario.evaluations
            if not is_last and trial.should_prune():
                is_pruned = True
                break
        (asked.folder / f"trial-{trial.number:05d}.ckpt").write_bytes(storage.content)
        run.end("KILLED" if is_pruned else "FINISHED")
        if is_pruned:
            raise optuna.TrialPruned
        return loss

    return train_trial


def study_of(asked: Asked, *, worker: int | None = None) -> optuna.Study:
    """Return the study: in memory, or that of a worker on the database."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    scenario: Scenario = asked.scenario
    pruner = (
        optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=scenario.reduction_factor)
        if scenario.prunes
        else optuna.pruners.NopPruner()
    )
    storage = None
    if worker is not None:
        url = f"sqlite:///{asked.folder / 'study.db'}"
        storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": PATIENCE_S}})
    sampler = make_sampler(asked.seed + 1000 * (worker or 0))
    return optuna.create_study(
        storage=storage, study_name=scenario.name, sampler=sampler, pruner=pruner, load_if_exists=True
    )


def tracking(asked: Asked) -> tuple[Any, str]:
    """Return MLflow's client and the experiment, made where it is not there."""
    from mlflow import MlflowClient

    client = MlflowClient(asked.tracking_uri)
    known = client.get_experiment_by_name("peer")
    return client, client.create_experiment("peer") if known is None else known.experiment_id


def run_threads(asked: Asked) -> None:
    """Run the sweep in threads."""
    study, dataset = study_of(asked), prepare(asked.scenario)
    study.optimize(objective(asked, dataset, *tracking(asked)), n_trials=asked.scenario.trials, n_jobs=WORKERS)


def run_processes(asked: Asked) -> None:
    """Run the sweep in processes forked from this one, which has everything imported and nothing open."""
    import mlflow  # noqa: F401 - once, for all of them
    import torch  # noqa: F401

    def make_tables() -> None:
        study_of(asked, worker=0)
        tracking(asked)

    fork(make_tables)  # or two would do so at once, and what this process opens could not be used in theirs
    dataset, left = prepare(asked.scenario), multiprocessing.Value("i", asked.scenario.trials)

    def work(worker: int) -> None:
        study, function = study_of(asked, worker=worker), objective(asked, dataset, *tracking(asked))
        while take(left) is not None:
            study.optimize(function, n_trials=1)

    fork(*(lambda worker=worker: work(worker) for worker in range(WORKERS)))


if __name__ == "__main__":
    asked = read_options(ways=WAYS)
    {"threads": run_threads, "processes": run_processes}[asked.way](asked)
