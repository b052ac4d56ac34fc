"""What the commands of `bptt k8s` make of the manifests: nothing is found in that either."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from typing import Any

import pytest

from orchestrator.jobs.parcel import SPEC_FILE, SUBMISSION_FILE, Submission
from orchestrator.kubernetes.install import record
from orchestrator.kubernetes.manifests import overlay as folder_of
from orchestrator.kubernetes.rayjob import filled, most_trials
from orchestrator.kubernetes.render import objects, rendered
from orchestrator.kubernetes.values import Values, read_values
from tests.deploy.checks import findings
from tests.deploy.rendered import render
from tests.orchestrator.conftest import make_spec

VALUES: dict[str, Any] = {
    "registry": "registry.example.com:5000/team",
    "tag": "1.0",
    "head": {"cpus": 3, "memory": "12Gi"},
    "workers": {"least": 2, "most": 12, "cpus": 5, "memory": "20Gi"},
    "gpu_workers": {"least": 0, "most": 3, "cpus": 6, "memory": "48Gi", "gpus": 2},
}
OVERLAYS = ("local", "gpu", "production")


@cache
def as_text(overlay: str, values: Values, part: str) -> str:
    render(f"overlays/{overlay}")  # where kubectl is not here this is not checked, and says so
    return rendered(folder_of(overlay) / part, values, namespace="bptt")


def with_values(overlay: str, values: Values, part: str = "") -> list[Any]:
    return [dict(each) for each in objects(as_text(overlay, values, part))]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_is_found_in_an_overlay_with_values(overlay: str) -> None:
    hosts = {"hosts": {"mlflow": "flow.example.com"}} if overlay == "production" else {}
    values = read_values({**VALUES, **hosts, "storage_class": "fast"})
    wanted = [*with_values(overlay, values), record(overlay, values, "bptt")]
    assert findings(wanted) == {}
    assert "registry.example.com:5000/team/bptt-mlflow:1.0" in json.dumps(wanted)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", ["test", "Te_st", "x" * 63])
def test_nothing_is_found_in_a_submitted_sweep(overlay: str, name: str) -> None:
    values = read_values(VALUES)
    [template] = [each for each in with_values(overlay, values, "sweep") if each["kind"] == "RayJob"]
    spec = make_spec(name=name)
    submission = Submission({}, most_trials(spec, template))
    files = {SPEC_FILE: json.dumps(spec.plain()).encode(), SUBMISSION_FILE: json.dumps(asdict(submission)).encode()}
    job, parcel = filled(template, spec, number=120, files=files, namespace="bptt")
    assert findings([dict(job), parcel, *with_values(overlay, values)]) == {}
