"""What the commands ask of kubectl, as rights: the same that the Role for those who run sweeps is checked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.deploy.rights import FORWARD, NEEDED
from tests.fake_kubectl import kind_of, objects
from tests.kubernetes import Cluster, secret
from tests.orchestrator.cli.conftest import Answer, Bptt
from tests.orchestrator.cli.test_k8s_submit import JOB, RUNNING, WriteSweep, stand
from tests.orchestrator.conftest import make_spec

GROUPS = {"rayjob": "ray.io", "raycluster": "ray.io", "statefulset": "apps", "deployment": "apps", "job": "batch"}
WITHOUT = ("version", "api-versions", "auth", "kustomize")
"""What everybody may do who is known to the cluster."""


def resource(kind: str) -> str:
    kind = kind_of(kind)
    return f"{kind}s.{GROUPS.get(kind, '')}".rstrip(".")


def rights(call: Mapping[str, Any]) -> Iterator[str]:
    """Yield the rights that a call of kubectl needs."""
    words = call["arguments"]
    words = words[words.index("--namespace") + 2 :]
    verb, plain = words[0], [word for word in words[1:] if not word.startswith("-")]
    kinds = [resource(each["kind"]) for each in objects(call["stdin"])]
    match verb:
        case "get" if kind_of(plain[0]) == "secret":
            yield f"secrets/{plain[1]}: get"
        case "get":
            yield f"{resource(plain[0])}: {'get' if plain[1:] else 'list'}"
        case "create":
            yield from (f"{kind}: create" for kind in kinds)
        case "replace":  # it reads the version that it replaces
            yield from (f"{kind}: {each}" for kind in kinds for each in ("get", "update"))
        case "delete":
            yield f"{resource(plain[0])}: delete"
        case "logs":
            yield from (f"{resource(plain[0].partition('/')[0])}: get", "pods: get", "pods: list", "pods/log: get")
        case "exec":
            yield from ("pods: get", "pods/exec: create", "pods/exec: get")
        case "port-forward":
            assert plain[0].startswith("service/")
            yield from FORWARD
        case _:
            assert verb in WITHOUT, f"nobody has said what kubectl {verb} needs"


@pytest.fixture
def installed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, sweep_file: WriteSweep) -> Cluster:
    """A cluster with each kind of part, one of which is not ready, and RayJobs that run at once."""
    cluster.mark("ready")
    cluster.put("bptt-installed", {"kind": "ConfigMap", "data": {"overlay": "local", "values": "{}"}})
    cluster.put("bptt", {"kind": "RayCluster", "spec": {"authOptions": {"mode": "token"}}})
    for name, kind in (("postgres", "StatefulSet"), ("mlflow", "Deployment"), ("mlflow-migrate", "Job")):
        cluster.put(name, {"kind": kind, "spec": {"replicas": 1}, "status": {}})
    for of in ("bptt", RUNNING["rayClusterName"]):
        labels = {"ray.io/cluster": of, "ray.io/node-type": "head"}
        cluster.put(f"{of}-head", {"kind": "Pod", "status": {"phase": "Running"}}, labels=labels)
    cluster.put(RUNNING["rayClusterName"], {"kind": "RayCluster"})
    secret(cluster, "bptt", auth_token="token-of-the-cluster")
    cluster.mark("rayjob-status.json", json.dumps(RUNNING))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.chdir(cluster.folder.parent)
    sweep_file(make_spec())
    return cluster


def test_the_rights_checked_for_are_those_that_the_commands_use(
    bptt: Bptt, installed: Cluster, sweep_file: WriteSweep
) -> None:
    path, used = sweep_file(make_spec()), dict[str, set[str]]()

    def call(command: str, *arguments: object, status: int = 0) -> Answer:
        before = len(installed.calls())
        answer = bptt("k8s", *arguments)
        assert answer.status == status, answer.err
        used.setdefault(command, set()).update(each for one in installed.calls()[before:] for each in rights(one))
        return answer

    call("submit", "submit", path)
    stand(installed, JOB, {"jobDeploymentStatus": "Initializing"})
    call("submit", "submit", path)
    call("status", "status", status=1)
    call("logs of a part", "logs", "postgres")
    call("logs of a part", "logs", "mlflow")
    call("logs of a part", "logs", "mlflow-migrate")
    stand(installed, JOB, RUNNING)
    call("logs of a sweep", "logs", "test")
    # Its cluster is lost, and the ConfigMap of the next RayJob is there still.
    installed.remove("raycluster", RUNNING["rayClusterName"])
    installed.put("sweep-test-2", {"kind": "ConfigMap"})
    call("submit", "submit", "test", "--no-wait")
    call("submit --running", "submit", path, "--running", "--no-wait", status=1)  # nothing listens at its port
    assert used.pop("submit --running") | FORWARD == _named("submit --running", "bptt")
    assert used["logs of a sweep"] | {"pods: list", "events: list"} == NEEDED["logs of a sweep"]
    del used["logs of a sweep"]
    assert used == {command: _named(command, "bptt") for command in used}
    assert {"status", "submit", "logs of a part"} == set(used)


def _named(command: str, name: str) -> set[str]:
    return {right.replace("NAME", name) for right in NEEDED[command]}
