"""Every kustomization renders, and nothing is found in what it renders to."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cli.drive_command import received
from orchestrator.jobs.parcel import is_of_one_machine
from orchestrator.kubernetes.sizes import Room
from tests.deploy import ray_schemas, settings
from tests.deploy.checks import CHECKS, RAY_SCHEMAS
from tests.deploy.pods import pods_of
from tests.deploy.rendered import KUSTOMIZATIONS, ROOT, named, of_kind, render, with_what_stands

NO_CRDS = (
    f"NOT CHECKED: KubeRay's CRDs are not at {ray_schemas.folder()}; set {ray_schemas.WHERE} to where ray.io_*.yaml lie"
)


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
@pytest.mark.parametrize("check", CHECKS)
def test_nothing_is_found(name: str, check: str) -> None:
    if check == RAY_SCHEMAS and not ray_schemas.are_here():
        pytest.skip(NO_CRDS)
    assert CHECKS[check](with_what_stands(name)) == []


def test_no_file_holds_a_secret() -> None:
    assert settings.in_files() == []


def test_every_kustomization_is_checked() -> None:
    folders = {path.parent for path in (ROOT / "k8s").rglob("kustomization.yaml")}
    kinds = {folder: yaml.safe_load((folder / "kustomization.yaml").read_text())["kind"] for folder in folders}
    whole = {str(folder.relative_to(ROOT / "k8s")) for folder, kind in kinds.items() if kind == "Kustomization"}
    assert whole == {*KUSTOMIZATIONS, "base", "ray"}, "base and ray are parts of the others"


@pytest.mark.parametrize("name", [name for name in KUSTOMIZATIONS if name.endswith("sweep")])
def test_a_sweep_is_one_job_and_its_files(name: str) -> None:
    objects = render(name)
    assert sorted(each["kind"] for each in objects) == ["ConfigMap", "RayJob"]


@pytest.mark.parametrize("overlay", ["local", "gpu"])
def test_a_sweeps_own_cluster_is_the_one_that_stands_and_its_files(overlay: str) -> None:
    (job,) = of_kind(render(f"overlays/{overlay}/sweep"), "RayJob")
    (cluster,) = of_kind(render(f"overlays/{overlay}"), "RayCluster")
    assert _without_files(job["spec"]["rayClusterSpec"]) == cluster["spec"]


def _without_files(spec: Any) -> Any:
    """Return the spec without the volume `sweep` and its mounts."""
    if isinstance(spec, dict):
        return {key: _without_files(value) for key, value in spec.items()}
    if isinstance(spec, list):
        return [_without_files(each) for each in spec if not (isinstance(each, dict) and each.get("name") == "sweep")]
    return spec


def test_the_files_of_a_sweep_are_what_its_driver_receives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = render("sweep")
    (job,), (files,) = of_kind(objects, "RayJob"), of_kind(objects, "ConfigMap")
    for name, content in files["data"].items():
        (tmp_path / name).write_text(content)
    submission, spec = received(tmp_path)
    assert spec.name == job["spec"]["metadata"]["sweep"]
    assert spec.resources.workers, "a cluster of no workers grows when some are asked for"
    environ = {
        "BPTT_STUDY_URL": "postgresql+psycopg://sweeps@postgres/sweeps",
        "BPTT_CHECKPOINTS": "s3://bucket/checkpoints",
        **named(render("overlays/gpu"), "ConfigMap", "bptt-settings")["data"],
    }
    found = submission.load({key: value for key, value in environ.items() if key.startswith("BPTT_")})
    assert not any(is_of_one_machine(found, name) for name in ("study_url", "checkpoints", "tracking_uri"))


def test_the_job_of_a_sweep_starts_where_its_files_are() -> None:
    (job,) = of_kind(render("sweep"), "RayJob")
    folder = re.match(
        r"cd (\S+) && exec python -m orchestrator.cli drive --supervise --retried$", job["spec"]["entrypoint"]
    )
    assert folder is not None
    spec = job["spec"]["rayClusterSpec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        mounts = group["template"]["spec"]["containers"][0]["volumeMounts"]
        assert {"name": "sweep", "mountPath": folder[1], "readOnly": True} in mounts


def test_a_laptop_has_room_for_the_local_overlay_and_a_sweep() -> None:
    def asked(name: str, *kinds: str) -> tuple[float, float]:
        chosen = [pod for pod in pods_of(render(name)) if pod.owner.startswith(kinds) and "gpu" not in pod.owner]
        rooms = [Room.of(each["resources"]["requests"]) for pod in chosen for each in pod.spec["containers"]]
        return sum(room.cpus for room in rooms), sum(room.memory for room in rooms)

    standing = asked("overlays/local", "Deployment", "StatefulSet", "RayCluster/bptt head")
    with_worker = asked("overlays/local", "Deployment", "StatefulSet", "RayCluster")
    sweep = asked("overlays/local/sweep", "RayJob")
    kubernetes = (1.05, 0.9e9)  # kind's own pods, and the operator's
    total = [sum(each) for each in zip(standing, sweep, kubernetes, strict=True)]
    assert 5 < total[0] <= 6
    assert total[1] <= 16e9
    smaller = with_worker[0] - 1 + kubernetes[0]  # with `--set workers.cpus=1`, and `submit --running`
    assert smaller <= 4


def test_the_versions_are_those_of_the_project() -> None:
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    for name in KUSTOMIZATIONS:
        text = json.dumps(render(name))
        assert set(re.findall(r'"rayVersion": "([^"]+)"', text)) <= {pinned["ray"]}
        assert set(re.findall(r'"bptt-(?:trainer|trainer-gpu|mlflow):([^"]+)"', text)) == {version[1]}
