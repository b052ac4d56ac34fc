"""Trials trained and registered one after the other, as a sweep that goes on would have them."""

from __future__ import annotations

from typing import Any

from orchestrator.checkpoints import CheckpointStorage
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.tracking.base import Model
from orchestrator.tracking.register import Winner
from orchestrator.tracking.runs import SweepRuns
from orchestrator.tracking.view import SweepView
from orchestrator.trial import TrialRecord, TrialState


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
        model = Model(trial, checkpoint, workload.predictor(checkpoint), spec.workload.kind, spec.workload.options)
        runs.register(Winner.of(model, str(spec.objective.metric)))
    return runs
