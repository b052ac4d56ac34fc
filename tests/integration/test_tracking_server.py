"""A sweep shown on a tracking server, which comes up only when the sweep is half done."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.checkpoints.storage import CheckpointStorage
from orchestrator.settings import Settings
from orchestrator.tracking import open_tracker
from orchestrator.tracking.base import Model
from orchestrator.tracking.client import open_client
from orchestrator.tracking.model import load_predictions, registered
from orchestrator.trial import TrialRecord, TrialState
from tests.orchestrator.recorded import fox_spec

pytestmark = pytest.mark.slow


@contextmanager
def serve(folder: Path, port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", f"{folder}/artifacts"]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen([*command, *stores], stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        server.terminate()
        server.wait(20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_server_that_comes_up_late_shows_everything(tmp_path: Path) -> None:
    port = free_port()
    settings = Settings.load({"runs": tmp_path / "runs", "tracking_uri": f"http://127.0.0.1:{port}"}, environ={})
    spec = fox_spec(tmp_path, name="late", budget={"trials": 2, "sequence_steps": 800, "evaluations": 4})
    workload = spec.load_workload()
    dataset = workload.prepare()
    storage = CheckpointStorage(settings.checkpoints)
    tracker = open_tracker(settings)
    tracker.open(spec, dataset, [])
    trials = []
    for number, length in enumerate([8, 16]):
        chosen = {"truncation_length": length}
        trial = TrialRecord(number, chosen, spec.params(chosen), started=1_700_000_000.0)
        for progress in workload.train(trial.params, dataset, storage):
            trial.evaluations.append(progress)
            tracker.changed(trial)
        trial.state, trial.ended = TrialState.COMPLETE, 1_700_000_100.0
        tracker.changed(trial)
        trials.append(trial)
    with serve(tmp_path, port):
        last = trials[0].last
        assert last is not None
        checkpoint = storage.read(last.checkpoint)
        model = Model(trials[0], checkpoint, "language_model", spec.workload.options)
        assert tracker.register(model) == "models:/late/1"
        assert tracker.close({"state": "finished"}, 60)
        client = open_client(settings)
        (experiment,) = [found for found in client.search_experiments() if found.name == "bptt/language_model"]
        runs = client.search_runs([experiment.experiment_id], "tags.`bptt.trial` LIKE '%'")
        assert {run.info.status for run in runs} == {"FINISHED"}
        for run in runs:
            evaluations = trials[int(run.data.tags["bptt.trial"])].evaluations
            history = client.get_metric_history(run.info.run_id, "valid_loss")
            shown = [(metric.step, metric.value) for metric in history]
            assert shown == [(one.sequence_steps, one.metrics["valid_loss"]) for one in evaluations]
        assert [found.name for found in registered(settings)] == ["late"]
        loaded = load_predictions(settings, "late")
        assert loaded.example is not None
        assert len(loaded.predict(loaded.example, {"length": 5})) == 1
