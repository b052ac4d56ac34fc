"""Winners registered one after the other, as a sweep that goes on would have them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.checkpoints.storage import CheckpointStorage
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.tracking.base import Model
from orchestrator.tracking.register import Winner
from orchestrator.tracking.runs import SweepRuns
from orchestrator.tracking.view import SweepView
from orchestrator.trial import TrialRecord, TrialState

if TYPE_CHECKING:
    from mlflow import MlflowClient


def train_and_register_all(settings: Settings, spec: SweepSpec, *settings_of_trials: dict[str, Any]) -> SweepRuns:
    """Train a trial for each setting, and register each as the winner in its turn."""
    workload = spec.load_workload()
    dataset = workload.prepare()
    storage = CheckpointStorage(settings.checkpoints).within(spec.name)
    runs = SweepRuns(settings)
    runs.open(SweepView.of(spec, dataset), dict(enumerate(settings_of_trials)))
    for number, chosen in enumerate(settings_of_trials):
        trial = TrialRecord(number, chosen, spec.params(chosen), started=1_700_000_000.0)
        trial.evaluations.extend(workload.train(trial.params, dataset, storage.within(f"trial-{number}")))
        assert trial.last is not None
        trial.state, trial.ended = TrialState.COMPLETE, 1_700_000_100.0
        runs.write(trial)
        checkpoint = storage.read(trial.last.checkpoint)
        model = Model(trial, checkpoint, spec.workload.kind, spec.workload.options)
        runs.register(Winner.of(model, str(spec.objective.metric)))
    return runs


def put_version(client: MlflowClient, name: str, metrics: dict[str, float], folder: Path) -> str:
    """Put a version there with runs as a sweep's, but without files, and without an alias; return its number."""
    parent = client.create_run("0")
    client.log_param(parent.info.run_id, "objective.direction", "minimize")
    run = client.create_run("0", tags={"bptt.data": "a text (0123)"})
    for metric, value in metrics.items():
        client.log_metric(run.info.run_id, metric, value)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    tags = {"bptt.trial": "0", "bptt.metric": "valid_loss", "bptt.value": "1.0", "bptt.parent": parent.info.run_id}
    made = client.create_model_version(name, str(folder), run.info.run_id, tags)
    return str(made.version)
