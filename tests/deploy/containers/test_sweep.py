"""A sweep on the deployment, whose Ray cluster is lost under it."""

from __future__ import annotations

import json
import pickle
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.driver import Driver
from orchestrator.executors.local import LocalExecutor
from orchestrator.ledger import Ledger
from orchestrator.settings import Settings
from orchestrator.spec import spec_from
from orchestrator.study import read_sweep
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import TrialRecord
from tests.cluster.chaos import make_spec, results
from tests.deploy.containers import podman
from tests.deploy.containers.deployment import Cluster, wait

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(3600)]
TRIALS, EVALUATIONS = 4, 8
DASHBOARD = "http://127.0.0.1:8265"
LOOK = """
import base64, pickle, sys
from orchestrator.errors import SweepNotFound
from orchestrator.ledger import Ledger
from orchestrator.study import read_sweep
try:
    trials = read_sweep(Ledger(sys.argv[1]), sys.argv[2])[1]
except SweepNotFound:
    trials = []
print(base64.b64encode(pickle.dumps(trials)).decode())
"""
SHOW = """
import json, os, sys
from mlflow import MlflowClient
client = MlflowClient("http://127.0.0.1:5000")
[experiment] = [each for each in client.search_experiments() if each.name == "bptt/memory"]
runs = client.search_runs([experiment.experiment_id])
[parent] = [run for run in runs if run.data.tags.get("bptt.role") == "sweep"]
trials = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
histories = {run.data.tags["bptt.trial"]: client.get_metric_history(run.info.run_id, "valid_loss") for run in trials}
page = client.download_artifacts(parent.info.run_id, "report.html", sys.argv[2])
print(json.dumps({
    "states": sorted({run.info.status for run in runs}),
    "losses": {trial: [metric.value for metric in history] for trial, history in histories.items()},
    "champion": client.get_model_version_by_alias(sys.argv[1], "champion").version,
    "report": "<html" in open(page).read(),
}))
"""


def planned(name: str) -> dict[str, Any]:
    budget = {"trials": TRIALS, "sequence_steps": 50_000 * EVALUATIONS, "evaluations": EVALUATIONS}
    return {**make_spec(name), "budget": budget}


def trials(cluster: Cluster, name: str) -> list[TrialRecord]:
    """Return the sweep's trials as the database has them."""
    place = cluster.places["postgres"]
    command = place.command(sys.executable, "-c", LOOK, cluster.url("sweeps", place.address), name)
    found: list[TrialRecord] = pickle.loads(b64decode(podman.call(*command)))
    return found


def evaluations(cluster: Cluster, name: str) -> dict[tuple[int, int], str]:
    return {
        (trial.number, one.evaluation): one.checkpoint for trial in trials(cluster, name) for one in trial.evaluations
    }


def left_alone(folder: Path) -> list[TrialRecord]:
    """Return what the same sweep finds on this machine with nothing lost."""
    settings = Settings.load({"runs": folder / "alone"}, environ={})
    with Driver(settings, spec_from(planned("alone")), executor=LocalExecutor(1), tracker=NoTracker()) as driver:
        for _ in driver.run():
            pass
    return read_sweep(Ledger(settings.study_url), "alone")[1]


def test_a_sweep_goes_on_where_its_ray_cluster_was_lost_and_is_whole_in_mlflow(
    cluster: Cluster, tmp_path: Path
) -> None:
    name = "contained"
    write = f"cat > /home/bptt/{name}.yaml <<'END'\n{yaml.safe_dump(planned(name))}END"
    podman.inside("head1-ray-head", "bash", "-c", write)
    said = cluster.bptt("submit", f"/home/bptt/{name}.yaml", "--address", DASHBOARD, "--no-project")
    assert "its driver runs on the cluster" in said
    wait(lambda: len(evaluations(cluster, name)) >= TRIALS + 2, 300, "the sweep gets going")
    cluster.end_ray()
    before = evaluations(cluster, name)
    assert len(before) < TRIALS * EVALUATIONS
    cluster.start_ray("2")
    cluster.bptt("resume", name, "--address", DASHBOARD)
    took_s = wait(lambda: len(evaluations(cluster, name)) > len(before), 200, "the sweep goes on")
    print(f"went on {took_s:.0f} s after `bptt resume`")
    wait(lambda: len(evaluations(cluster, name)) == TRIALS * EVALUATIONS, 600, "every evaluation is made")
    wait(lambda: '"finished"' in cluster.bptt("status", name, "--json"), 200, "the sweep is finished")
    after = evaluations(cluster, name)
    assert {key: after[key] for key in before} == before, "what was acknowledged was trained again"
    alone = left_alone(tmp_path)
    assert [len(trial.evaluations) for trial in alone] == [EVALUATIONS] * TRIALS
    assert results(trials(cluster, name)) == results(alone)
    shown = in_mlflow(cluster, name, tmp_path)
    assert shown["states"] == ["FINISHED"]
    assert shown["report"]
    assert shown["champion"] == "1"
    found = {
        str(each.number): [one.metrics["valid_loss"] for one in each.evaluations] for each in trials(cluster, name)
    }
    assert shown["losses"] == found


def in_mlflow(cluster: Cluster, name: str, folder: Path) -> dict[str, Any]:
    """Return what MLflow shows of the sweep to a user who has the password and comes by `kubectl port-forward`."""
    login = (f"MLFLOW_TRACKING_PASSWORD={cluster.tracking_password}", "MLFLOW_TRACKING_USERNAME=bptt")
    only_through_it = ("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD=false", "MLFLOW_DISABLE_TELEMETRY=true")
    python = (sys.executable, "-c", SHOW, name, str(folder))
    shown = podman.call(*cluster.places["mlflow"].command("env", *login, *only_through_it, *python))
    return dict(json.loads(shown.splitlines()[-1]))
