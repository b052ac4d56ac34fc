"""Sweeps on the deployment, which lose their Ray cluster, or MLflow, and one that is refused."""

from __future__ import annotations

import json
import pickle
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import read_sweep
from orchestrator.driver import Driver
from orchestrator.executors.local import LocalExecutor
from orchestrator.settings import Settings
from orchestrator.spec import spec_from
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
from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import read_sweep
try:
    trials = read_sweep(Ledger(sys.argv[1]), sys.argv[2])[1]
except SweepNotFound:
    trials = []
print(base64.b64encode(pickle.dumps(trials)).decode())
"""
STATE = """
import sys
from orchestrator.jobs.server import ON_THE_HEAD, JobsServer
print(JobsServer(ON_THE_HEAD).job(sys.argv[1]).state)
"""
SHOW = """
import json, os, sys
from mlflow import MlflowClient
client = MlflowClient("http://127.0.0.1:5000")
[experiment] = [each for each in client.search_experiments() if each.name == "bptt/memory"]
runs = client.search_runs([experiment.experiment_id], f"tags.`bptt.sweep` = '{sys.argv[1]}'")
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


def planned(name: str, evaluations: int = EVALUATIONS) -> dict[str, Any]:
    budget = {"trials": TRIALS, "sequence_steps": 50_000 * evaluations, "evaluations": evaluations}
    spec = make_spec(name)
    # The images have no compiler, this machine may: kernels of this project's own would differ in the last digits.
    return {**spec, "train": {**spec["train"], "kernel": "torch"}, "budget": budget}


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


def left_alone(folder: Path, evaluations: int = EVALUATIONS) -> list[TrialRecord]:
    """Return what the same sweep finds on this machine with nothing lost."""
    settings = Settings.load({"runs": folder / "alone"}, environ={})
    spec = spec_from(planned("alone", evaluations))
    with Driver(settings, spec, executor=LocalExecutor(1), tracker=NoTracker()) as driver:
        for _ in driver.run():
            pass
    found = read_sweep(Ledger(settings.study_url), "alone")[1]
    assert [len(trial.evaluations) for trial in found] == [evaluations] * TRIALS
    return found


def write(cluster: Cluster, name: str, content: Any) -> str:
    """Write a file where drivers run, and return its path."""
    path = f"/home/bptt/{name}"
    podman.inside(
        head(cluster), "sh", "-c", f"mkdir -p $(dirname {path}); cat > {path} <<'END'\n{json.dumps(content)}\nEND"
    )
    return path


def head(cluster: Cluster) -> str:
    return [f"{name}-ray-head" for name in cluster.places if name.startswith("head")][-1]


def submit(cluster: Cluster, name: str, spec: dict[str, Any]) -> None:
    """Submit a sweep, and wait until each trial has begun."""
    said = cluster.bptt("submit", write(cluster, f"{name}.yaml", spec), "--address", DASHBOARD, "--no-project")
    assert "its driver runs on the cluster" in said
    wait(lambda: len(evaluations(cluster, name)) >= TRIALS + 2, 300, "the sweep gets going")


def wait_for_end(cluster: Cluster, name: str, count: int) -> None:
    wait(lambda: len(evaluations(cluster, name)) == count, 600, "every evaluation is made")
    wait(lambda: '"finished"' in cluster.bptt("status", name, "--json"), 200, "the sweep is finished")


def test_a_sweep_goes_on_where_its_ray_cluster_was_lost_and_is_whole_in_mlflow(
    cluster: Cluster, tmp_path: Path
) -> None:
    name = "contained"
    submit(cluster, name, planned(name))
    cluster.end_ray()
    before = evaluations(cluster, name)
    assert len(before) < TRIALS * EVALUATIONS
    cluster.start_ray("2")
    cluster.bptt("resume", name, "--address", DASHBOARD)
    took_s = wait(lambda: len(evaluations(cluster, name)) > len(before), 200, "the sweep goes on")
    print(f"went on {took_s:.0f} s after `bptt resume`")
    wait_for_end(cluster, name, TRIALS * EVALUATIONS)
    after = evaluations(cluster, name)
    assert {key: after[key] for key in before} == before, "what was acknowledged was trained again"
    assert results(trials(cluster, name)) == results(left_alone(tmp_path))
    look_in_mlflow(cluster, name, tmp_path)


def test_a_sweep_goes_on_without_mlflow_and_nothing_of_it_is_missing_there(cluster: Cluster, tmp_path: Path) -> None:
    name, count = "untracked", TRIALS * 2 * EVALUATIONS
    submit(cluster, name, planned(name, 2 * EVALUATIONS))
    cluster.end("mlflow")
    gone = len(evaluations(cluster, name))
    wait(lambda: len(evaluations(cluster, name)) >= gone + 2 * TRIALS, 300, "the sweep goes on without MLflow")
    made = len(evaluations(cluster, name))
    assert made < count, "MLflow comes back in the middle of it"
    print(f"MLflow was away from evaluation {gone} to evaluation {made} of {count}")
    cluster.start_mlflow()
    wait_for_end(cluster, name, count)
    assert results(trials(cluster, name)) == results(left_alone(tmp_path, 2 * EVALUATIONS))
    look_in_mlflow(cluster, name, tmp_path)


def test_a_sweep_that_is_refused_ends_its_job_as_stopped(cluster: Cluster) -> None:
    """As KubeRay starts it: by the entry point of the RayJob, in the folder of its ConfigMap."""
    write(cluster, "refused/sweep.yaml", {**planned("refused"), "budgets": 3})
    write(cluster, "refused/submission.json", {"settings": {}, "workers": None, "allow_local": False})
    entry = "cd /home/bptt/refused && exec python -m orchestrator.cli drive --supervise --retried"
    variables = json.dumps({"env_vars": {"BPTT_JOB": "bptt-refused-1"}})
    options = ("--address", DASHBOARD, "--submission-id", "bptt-refused-1", "--runtime-env-json", variables)
    podman.inside(head(cluster), "ray", "job", "submit", "--no-wait", *options, "--", "bash", "-c", entry)
    look = (head(cluster), "python", "-c", STATE, "bptt-refused-1")
    wait(lambda: podman.inside(*look).strip() not in ("pending", "running"), 120, "the job ends")
    assert podman.inside(*look).strip() == "stopped"
    lines = cluster.bptt("logs", "refused", "--address", DASHBOARD)
    assert "budgets" in lines
    assert "refused: running this job again would not help" in lines


def look_in_mlflow(cluster: Cluster, name: str, folder: Path) -> None:
    """See that MLflow shows all of a sweep that the database has."""
    shown = in_mlflow(cluster, name, folder)
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
