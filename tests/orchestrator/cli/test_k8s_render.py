"""`bptt k8s render`: an overlay with a user's values, and one line for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.kubernetes.manifests import overlay, overlays
from orchestrator.kubernetes.render import objects, rendered
from orchestrator.kubernetes.values import read_values
from tests.kubernetes import Cluster
from tests.orchestrator.cli.conftest import Bptt

VALUES = """
registry: registry.example.com:5000/team
tag: "1.0"
head: {cpus: 3}
workers: {least: 1, most: 6, cpus: 2, memory: 4Gi}
gpu_workers: {gpus: 2}
storage_class: fast
"""


def render(bptt: Bptt, *arguments: object) -> list[dict[str, Any]]:
    answer = bptt("k8s", "render", *arguments)
    assert answer.status == 0, answer.err
    return list(yaml.safe_load_all(answer.out))


def the(found: list[dict[str, Any]], kind: str, name: str = "bptt") -> dict[str, Any]:
    return next(each for each in found if each["kind"] == kind and each["metadata"]["name"] == name)


def images(found: Any) -> set[str]:
    if isinstance(found, dict):
        own = {found["image"]} if isinstance(found.get("image"), str) else set()
        return own.union(*map(images, found.values()))
    return set().union(*map(images, found)) if isinstance(found, list) else set()


@pytest.mark.parametrize("name", ["local", "gpu", "production"])
def test_an_overlay_without_values_is_what_kubectl_makes_of_it(bptt: Bptt, cluster: Cluster, name: str) -> None:
    found = render(bptt, name)
    assert the(found, "RayCluster")["metadata"]["namespace"] == "bptt"
    assert "bptt-mlflow:0.1.0" in images(found)
    assert not [each for each in found if each["kind"] == "Secret"]
    assert cluster.calls() == [], "no cluster is asked"


def test_values_reach_images_sizes_and_storage(bptt: Bptt, cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(VALUES)
    found = render(bptt, "local", "--values", tmp_path / "values.yaml", "--namespace", "lab")
    registry = "registry.example.com:5000/team"
    assert {each for each in images(found) if "bptt" in each} == {
        f"{registry}/{name}:1.0" for name in ("bptt-trainer", "bptt-trainer-gpu", "bptt-mlflow")
    }
    spec = the(found, "RayCluster")["spec"]
    cpu, gpu = spec["workerGroupSpecs"]
    assert (cpu["replicas"], cpu["minReplicas"], cpu["maxReplicas"]) == (1, 1, 6)
    limits = cpu["template"]["spec"]["containers"][0]["resources"]
    assert limits["limits"] == limits["requests"] == {"cpu": "2", "memory": "4Gi"}
    assert spec["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "3"
    assert gpu["template"]["spec"]["containers"][0]["resources"]["requests"]["nvidia.com/gpu"] == 2
    claim = the(found, "StatefulSet", "postgres")["spec"]["volumeClaimTemplates"][0]
    assert claim["spec"]["storageClassName"] == "fast"
    assert {each["metadata"]["namespace"] for each in found if each["kind"] == "Service"} == {"lab"}


def test_a_cluster_that_does_not_grow_has_as_many_workers_as_it_may(bptt: Bptt, cluster: Cluster) -> None:
    values = read_values({"workers": {"most": 7}, "gpu_workers": {"most": 5}})
    found = objects(rendered(overlay("production") / "sweep", values, namespace="bptt"))
    [job] = [each for each in found if each["kind"] == "RayJob"]
    assert [each["replicas"] for each in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]] == [7, 0]


def test_an_image_may_be_named_in_full(bptt: Bptt, cluster: Cluster) -> None:
    digest = f"sha256:{'0' * 64}"
    one = images(render(bptt, "local", "--set", f"image=reg/mine@{digest}", "--set", "mlflow_image=flow:7"))
    assert {f"reg/mine@{digest}", "flow:7"} <= one
    assert "bptt-trainer-gpu:0.1.0" in one, "the other stays as it is shipped"


def test_a_host_is_told_to_the_ingress_and_to_mlflow(bptt: Bptt, cluster: Cluster) -> None:
    found = render(bptt, "production", "--set", "hosts.mlflow=flow.example.com")
    ingress = the(found, "Ingress", "mlflow")["spec"]
    assert ingress["rules"][0]["host"] == "flow.example.com"
    assert ingress["tls"][0]["hosts"] == ["flow.example.com"]
    settings = the(found, "ConfigMap", "mlflow-settings")["data"]
    assert settings["MLFLOW_SERVER_ALLOWED_HOSTS"].endswith(",flow.example.com,flow.example.com:443")
    assert settings["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == "https://flow.example.com"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "OVERLAY: 'nowhere'; there are gpu, local, production"),
        (["local", "--set", "workers.mots=3"], "values: workers.mots: unknown; allowed: cpus, memory, least, most"),
        (["local", "--set", "workers.most=0"], "values: workers.most: 0; input should be greater than or equal to 1"),
        (["local", "--set", "workers.least=9"], "workers: at least 9 and at most 2; give workers.least and"),
        (
            ["local", "--set", "workers.least=3", "--set", "workers.most=2"],
            "workers.least: 3 is more than workers.most",
        ),
        (["local", "--set", "workers.memory=lots"], "values: workers.memory: 'lots'; string should match pattern"),
        (["local", "--set", "image=Wrong Image"], "values: image: 'Wrong Image'"),
        (["local", "--set", "hosts.mlflow=flow.example.com"], "hosts.mlflow: this overlay has nothing that it could"),
        (["local", "--set", "password=hunter2"], "values: password: unknown; allowed: registry, tag, image"),
        (["local", "--set", "workers"], "--set workers: name=value is needed"),
        (["local", "--namespace", "No_Name"], "--namespace: 'No_Name'; small letters, digits and dashes"),
    ],
)
def test_a_mistake_is_one_line(bptt: Bptt, cluster: Cluster, arguments: list[str], said: str) -> None:
    answer = bptt("k8s", "render", *arguments)
    assert answer.status == 2
    assert said in answer.err
    assert answer.err.count("\n") == 1
    assert answer.out == ""


def test_a_file_of_values_that_is_none_is_one_line(bptt: Bptt, cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("[1, 2]")
    answer = bptt("k8s", "render", "local", "--values", tmp_path / "values.yaml")
    assert answer.status == 2
    assert "values.yaml: a mapping of image, workers, hosts and so on is needed" in answer.err


def test_without_kubectl_a_line_says_so(bptt: Bptt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = bptt("k8s", "render", "local")
    assert answer.status == 2
    assert answer.err == (
        "bptt: kubectl is not here; install it (https://kubernetes.io/docs/tasks/tools/) and put it on PATH\n"
    )


def test_every_overlay_has_a_sweep_of_its_own() -> None:
    assert overlays() == ["gpu", "local", "production"]
