"""Quantities as Kubernetes writes them, and what pods ask for in all."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.kubernetes.sizes import Room, fits, gpus_wanted, largest_pods, least_of_all, quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [("500m", 0.5), ("2", 2.0), (3, 3.0), ("8Gi", 8 * 2**30), ("1.5G", 1.5e9), ("1e3", 1e3), ("9E", 0.0), ("x", 0.0)],
)
def test_a_quantity_is_a_number(text: object, value: float) -> None:
    assert quantity(text) == pytest.approx(value)


def pod(cpu: str, memory: str, **more: str) -> dict[str, Any]:
    return {
        "spec": {
            "containers": [{"resources": {"limits": {"cpu": "64"}, "requests": dict(cpu=cpu, memory=memory, **more)}}]
        }
    }


CLUSTER = {
    "kind": "RayCluster",
    "metadata": {"name": "bptt"},
    "spec": {
        "headGroupSpec": {"template": pod("1", "2Gi")},
        "workerGroupSpecs": [
            {"groupName": "cpu", "minReplicas": 2, "replicas": 3, "template": pod("4", "8Gi")},
            {"groupName": "gpu", "minReplicas": 0, "template": pod("8", "1Gi", **{"nvidia.com/gpu": "2"})},
        ],
    },
}
SERVER = {"kind": "Deployment", "metadata": {"name": "mlflow"}, "spec": {"replicas": 2, "template": pod("500m", "1Gi")}}
CLAIM = {"kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}


def test_the_largest_pods_are_those_of_one_node() -> None:
    found = largest_pods([CLUSTER, SERVER])
    assert found["bptt's workers gpu"] == Room(8.0, 2**30, 2.0)
    assert found["mlflow"] == Room(0.5, 2**30)
    assert fits(found["mlflow"], Room(1, 2**31))
    assert not fits(found["bptt's workers gpu"], Room(64, 2**40))
    assert str(found["bptt's workers gpu"]) == "8 CPUs, 1 GiB, 2 GPUs"


def test_gpus_are_wanted_where_a_group_asks_for_them() -> None:
    assert gpus_wanted([CLUSTER])
    assert not gpus_wanted([SERVER])


def test_what_all_ask_for_at_first_is_counted_as_a_quota_does() -> None:
    found = least_of_all([CLUSTER, SERVER, CLAIM])
    assert found["cpu"] == found["requests.cpu"] == pytest.approx(14.0)
    assert found["memory"] == found["requests.memory"] == pytest.approx(28 * 2**30)
    assert (found["pods"], found["persistentvolumeclaims"]) == (6, 1)
