"""`bptt k8s status`, `logs` and `delete`: what is there, what it says, and what stays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kubernetes import Cluster
from tests.orchestrator.cli.conftest import Answer, Bptt
from tests.orchestrator.cli.test_k8s_apply import apply


@pytest.fixture
def installed(bptt: Bptt, cluster: Cluster) -> Cluster:
    cluster.mark("ready")
    assert apply(bptt, "local", "--yes").status == 0
    return cluster


def ray_job(cluster: Cluster, sweep: str, number: int = 1, **status: Any) -> None:
    name = f"sweep-{sweep}-{number}"
    cluster.put(
        name,
        {"kind": "RayJob", "status": status},
        annotations={"bptt/sweep": sweep},
        creationTimestamp=f"2026-11-0{number}",
    )


def head(cluster: Cluster, ray_cluster: str, phase: str = "Running") -> None:
    labels = {"ray.io/cluster": ray_cluster, "ray.io/node-type": "head"}
    cluster.put(f"{ray_cluster}-head", {"kind": "Pod", "status": {"phase": phase}}, labels=labels)


def test_where_there_is_nothing_a_line_says_what_to_do(bptt: Bptt, cluster: Cluster) -> None:
    cluster.remove("deployment", "kuberay-operator")  # of another namespace, which the fake does not know
    answer = bptt("k8s", "status", "--namespace", "lab")
    assert answer.status == 1
    assert answer.out == "There is nothing in namespace lab. Try `bptt k8s apply local --namespace lab`.\n"


def test_parts_and_sweeps_are_listed(bptt: Bptt, installed: Cluster) -> None:
    installed.put("c", {"kind": "RayCluster"}, labels={"ray.io/originated-from-cr-name": "sweep-one-1"})
    ray_job(installed, "one", jobDeploymentStatus="Running", jobStatus="RUNNING", rayClusterName="c")
    ray_job(installed, "two", jobDeploymentStatus="Suspended")
    ray_job(installed, "three", jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    ray_job(installed, "four", jobDeploymentStatus="Failed", jobStatus="FAILED", message="no  luck")
    stopped = {"message": "Job was intentionally stopped."}
    ray_job(installed, "five", jobDeploymentStatus="Complete", jobStatus="STOPPED", **stopped)
    answer = bptt("k8s", "status")
    assert answer.status == 0
    assert "namespace bptt, overlay local" in answer.out
    found = json.loads(bptt("k8s", "status", "--json").out)
    assert found["ready"] is True
    assert {each["name"] for each in found["parts"]} >= {"bptt", "mlflow", "mlflow-migrate", "postgres", "seaweedfs"}
    assert "c" not in {each["name"] for each in found["parts"]}, "a sweep's own cluster is shown with its sweep"
    states = {each["sweep"]: (each["state"], each["why"]) for each in found["sweeps"]}
    assert states == {
        "one": ("running", ""),
        "two": ("suspended", ""),
        "three": ("ended", ""),
        "four": ("failed", "no luck"),
        "five": (
            "stopped",
            "its driver refused the sweep, or somebody stopped the job; `bptt k8s logs five` says why for as long as "
            "its cluster stands",
        ),
    }


@pytest.mark.parametrize(
    ("status", "event", "why"),
    [
        ({"phase": "Pending"}, "0/3 nodes are available", "postgres-0: FailedScheduling: 0/3 nodes are available"),
        (
            {
                "containerStatuses": [
                    {
                        "name": "postgres",
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                    }
                ]
            },
            "",
            "postgres-0: postgres: CrashLoopBackOff (it ended with 137: OOMKilled)",
        ),
        ({"phase": "Running"}, "", "postgres-0 is Running"),
    ],
)
def test_what_is_not_ready_says_why(
    bptt: Bptt, installed: Cluster, status: dict[str, Any], event: str, why: str
) -> None:
    found = installed.read("statefulset", "postgres")
    found.pop("metadata")
    installed.put("postgres", {**found, "status": {"observedGeneration": 1, "readyReplicas": 0}})
    installed.put("postgres-0", {"kind": "Pod", "status": status}, labels={"app.kubernetes.io/name": "postgres"})
    if event:
        about = {"involvedObject": {"name": "postgres-0"}, "reason": "FailedScheduling", "message": event}
        installed.put("e", {"kind": "Event", **about})
    answer = bptt("k8s", "status")
    assert answer.status == 1
    assert f"postgres  {why}\n" in answer.out
    [part] = [each for each in json.loads(bptt("k8s", "status", "--json").out)["parts"] if not each["ready"]]
    assert (part["kind"], part["name"], part["why"]) == ("StatefulSet", "postgres", why)


def test_a_cluster_without_kuberay_has_a_status_too(bptt: Bptt, installed: Cluster) -> None:
    installed.mark("unknown-kinds", "raycluster rayjob")
    found = json.loads(bptt("k8s", "status", "--json").out)
    assert "bptt" not in {each["name"] for each in found["parts"]}


def test_an_unreachable_cluster_is_one_line_and_its_fault(bptt: Bptt, cluster: Cluster) -> None:
    cluster.mark("unreachable")
    for command in (["status"], ["logs", "x"], ["delete", "local", "--yes"], ["submit", "demo"]):
        answer = bptt("k8s", *command, "--context", "prod")
        assert answer.status == 1
        assert answer.err == (
            "bptt: the cluster of context prod cannot be reached: The connection to the server 10.0.0.1:6443 was "
            "refused - is it right?; see `kubectl cluster-info`\n"
        )


def logs(bptt: Bptt, cluster: Cluster, *arguments: str) -> tuple[Answer, list[str]]:
    answer = bptt("k8s", "logs", *arguments)
    called = cluster.calls("logs", "exec")
    return answer, called[-1]["arguments"][2:] if called else []


def test_a_sweeps_lines_are_asked_of_its_own_clusters_head(bptt: Bptt, installed: Cluster) -> None:
    ray_job(installed, "one", jobDeploymentStatus="Running", jobStatus="RUNNING", rayClusterName="c")
    installed.put("c", {"kind": "RayCluster"})
    head(installed, "c")
    head(installed, "bptt")
    answer, called = logs(bptt, installed, "one", "-f")
    assert answer.status == 0
    asked = ["bptt", "logs", "one", "--address=http://127.0.0.1:8265", "--follow"]
    assert called == ["exec", "c-head", "--container=ray-head", "--", *asked]


def test_a_sweep_without_a_ray_job_is_asked_of_the_cluster_that_stands(bptt: Bptt, installed: Cluster) -> None:
    head(installed, "bptt")
    _, called = logs(bptt, installed, "other")
    assert called == ["exec", "bptt-head", "--container=ray-head", "--", "bptt", "logs", "other", called[-1]]


def test_a_parts_lines_are_kubectls(bptt: Bptt, installed: Cluster) -> None:
    _, called = logs(bptt, installed, "postgres")
    assert called == ["logs", "statefulset/postgres", "--all-containers"]


def test_lines_that_are_nowhere_are_told(bptt: Bptt, installed: Cluster) -> None:
    answer, called = logs(bptt, installed, "nothing")
    assert (answer.status, called) == (2, [])
    assert "NAME: 'nothing' is no sweep here and no part; `bptt k8s status` lists both" in answer.err
    ray_job(installed, "one", jobDeploymentStatus="Complete", jobStatus="SUCCEEDED", rayClusterName="c")
    assert "one: its cluster is gone and its lines with it" in logs(bptt, installed, "one")[0].err
    ray_job(installed, "one", 2, jobDeploymentStatus="Initializing", rayClusterName="d")
    head(installed, "d", "Pending")
    assert "one: its cluster has no head yet" in logs(bptt, installed, "one")[0].err


def test_deleting_keeps_volumes_and_secrets(bptt: Bptt, installed: Cluster) -> None:
    for name in ("data-postgres-0", "bptt-data", "of-another"):
        installed.put(name, {"kind": "PersistentVolumeClaim"})
    ray_job(installed, "one", jobDeploymentStatus="Running", jobStatus="RUNNING", rayClusterName="bptt")
    answer = bptt("k8s", "delete", "--yes")
    assert answer.status == 0, answer.err
    assert "sweeps that run: one" in answer.out
    for kind in ("deployment", "statefulset", "raycluster", "rayjob", "configmap", "networkpolicy", "job"):
        assert installed.names(kind) == (["kuberay-operator"] if kind == "deployment" else [])
    assert installed.names("secret") == ["bptt-databases", "bptt-storage", "bptt-tracking"]
    assert installed.names("persistentvolumeclaim") == ["bptt-data", "data-postgres-0", "of-another"]
    assert installed.names("namespace") == ["bptt"]
    deleted = [call["arguments"][3] for call in installed.calls("delete")]
    assert deleted[0] == "rayjob.ray.io/sweep-one-1", "a sweep goes before what it uses"


def test_data_go_only_where_told_and_only_our_own(bptt: Bptt, installed: Cluster) -> None:
    for name in ("data-postgres-0", "bptt-data", "of-another"):
        installed.put(name, {"kind": "PersistentVolumeClaim"})
    installed.put("of-another", {"kind": "Secret"})
    answer = bptt("k8s", "delete", "--with-data", "--yes")
    assert answer.status == 0
    assert "what was trained and found is lost" in answer.out
    assert installed.names("secret") == installed.names("persistentvolumeclaim") == ["of-another"]


def test_nothing_is_deleted_unasked(bptt: Bptt, installed: Cluster) -> None:
    before = len(installed.changes())
    answer = bptt("k8s", "delete")
    assert answer.status == 2
    assert "--yes: missing" in answer.err
    assert len(installed.changes()) == before


def test_deleting_what_was_never_installed_is_a_mistake(bptt: Bptt, cluster: Cluster) -> None:
    answer = bptt("k8s", "delete", "--yes")
    assert answer.status == 2
    assert "OVERLAY: missing; nothing was installed in namespace bptt by `bptt k8s apply`" in answer.err
