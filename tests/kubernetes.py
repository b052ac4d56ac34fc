"""A Kubernetes cluster as tests need it: `fake_kubectl.py` on PATH, a folder of objects, and what is read from both."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests import fake_kubectl

API_VERSIONS = (
    *("v1", "apps/v1", "batch/v1", "networking.k8s.io/v1", "policy/v1", "rbac.authorization.k8s.io/v1", "ray.io/v1"),
    "storage.k8s.io/v1",
)


def definition(*, tokens: bool = True) -> dict[str, Any]:
    """KubeRay's definition of RayClusters, as far as it is looked at."""
    spec: dict[str, Any] = {"properties": {"authOptions": {"properties": {"mode": {}}}} if tokens else {}}
    schema = {"openAPIV3Schema": {"properties": {"spec": spec}}}
    return {"kind": "CustomResourceDefinition", "spec": {"versions": [{"name": "v1", "schema": schema}]}}


def operator(version: str = "v1.7.0", *, ready: int = 1) -> dict[str, Any]:
    pod = {"containers": [{"image": f"kuberay/operator:{version}"}]}
    status = {"readyReplicas": ready, "updatedReplicas": ready, "observedGeneration": 1}
    return {"kind": "Deployment", "spec": {"replicas": 1, "template": {"spec": pod}}, "status": status}


def node(cpus: int = 8, memory: str = "64Gi", **more: str) -> dict[str, Any]:
    return {"kind": "Node", "status": {"allocatable": {"cpu": str(cpus), "memory": memory, **more}}}


@dataclass(frozen=True)
class Cluster:
    """What the fake kubectl keeps and writes down."""

    folder: Path

    def put(self, name: str, found: Mapping[str, Any], **metadata: Any) -> None:
        path = self.folder / "objects" / fake_kubectl.kind_of(found["kind"]) / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**found, "metadata": {"name": name, "generation": 1, **metadata}}))

    def has(self, kind: str, name: str) -> bool:
        return (self.folder / "objects" / kind / f"{name}.json").is_file()

    def read(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "objects" / kind / f"{name}.json").read_text())
        return found

    def names(self, kind: str) -> list[str]:
        return sorted(path.stem for path in (self.folder / "objects" / kind).glob("*.json"))

    def remove(self, kind: str, name: str) -> None:
        (self.folder / "objects" / kind / f"{name}.json").unlink()

    def mark(self, name: str, text: str = "") -> None:
        """Let the cluster be so: `ready`, `unreachable`, `denied`, `port`, and so on."""
        (self.folder / name).write_text(text)

    def calls(self, *verbs: str) -> list[dict[str, Any]]:
        path = self.folder / "calls.jsonl"
        made = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        return [call for call in made if not verbs or set(verbs) & set(call["arguments"])]

    def changes(self) -> list[dict[str, Any]]:
        asking = ("can-i", "get")
        made = self.calls("apply", "create", "replace", "delete")
        return [call for call in made if not set(asking) & set(call["arguments"])]


def call_in_process(command: list[str], stdin: str | None) -> subprocess.CompletedProcess[str]:
    """Do what the fake does without starting it: dozens of calls make one command."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err), mock.patch("sys.stdin", io.StringIO(stdin or "")):
        try:
            fake_kubectl.main(command[1:])
        except SystemExit as ended:
            status = int(ended.code or 0)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


def fake_cluster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Put the fake on PATH and give it a cluster with KubeRay, a node and a default storage class."""
    programs, store, rendered = folder / "bin", folder / "cluster", folder.parent / "rendered"
    programs.mkdir()
    store.mkdir()
    rendered.mkdir(exist_ok=True)
    script = Path(fake_kubectl.__file__).read_text().partition("\n")[2]
    (programs / "kubectl").write_text(f"#!{sys.executable} -ES\n{script}")
    (programs / "kubectl").chmod(0o755)
    monkeypatch.setenv("BPTT_TEST_KUBECTL", shutil.which("kubectl") or "")
    monkeypatch.setenv("BPTT_TEST_CLUSTER", str(store))
    monkeypatch.setenv("BPTT_TEST_RENDERED", str(rendered))
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    cluster = Cluster(store)
    cluster.mark("api-versions", "\n".join(API_VERSIONS))
    cluster.put("rayclusters.ray.io", definition())
    labels = {"app.kubernetes.io/name": "kuberay-operator"}
    cluster.put("kuberay-operator", operator(), labels=labels, namespace="kuberay-system")
    cluster.put("node-1", node())
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    cluster.put("standard", {"kind": "StorageClass"}, annotations=default)
    return cluster


def secret(cluster: Cluster, name: str, **content: str) -> None:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in content.items()}
    cluster.put(name, {"kind": "Secret", "data": encoded})


def kubectl_is_here() -> bool:
    return shutil.which("kubectl") is not None
