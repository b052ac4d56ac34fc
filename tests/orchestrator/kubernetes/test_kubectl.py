"""Calling kubectl: as a process, without a shell, its complaints in a line of the right kind."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from orchestrator.errors import BpttError, UserError
from orchestrator.kubernetes.forward import forwarded
from orchestrator.kubernetes.install import text_of
from orchestrator.kubernetes.kubectl import Absent, ClusterError, Exists, Kubectl
from tests.kubernetes import Cluster, fake_cluster, kubectl_is_here


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The fake as a process on PATH."""
    return fake_cluster(tmp_path, monkeypatch)


def test_arguments_reach_kubectl_as_they_are_and_secrets_by_stdin(cluster: Cluster) -> None:
    kubectl = Kubectl("prod; $(touch pwned) 'x", "lab")
    kubectl.create({"kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": "hunter2 $HOME"}})
    [call] = cluster.calls()
    flags = ["--context", "prod; $(touch pwned) 'x", "--namespace", "lab"]
    assert call["arguments"] == [*flags, "create", "--filename=-", "--request-timeout=30s"]
    assert json.loads(call["stdin"])["stringData"] == {"password": "hunter2 $HOME"}
    with pytest.raises(Exists, match="already exists"):
        kubectl.create({"kind": "Secret", "metadata": {"name": "s"}})


def test_what_is_not_there_is_absent(cluster: Cluster) -> None:
    with pytest.raises(Absent, match=r"not found"):
        Kubectl().get("secret", "nothing")
    assert not Kubectl().has("secret", "nothing")
    cluster.mark("unknown-kinds", "rayjob")
    assert Kubectl().find("rayjobs.ray.io") == []


@pytest.mark.parametrize(
    ("said", "kind", "line"),
    [
        ('error: context "x" does not exist', UserError, 'kubectl: context "x" does not exist; `kubectl config'),
        (
            "Unable to connect to the server: dial tcp: i/o timeout",
            ClusterError,
            "the cluster cannot be reached: Unable",
        ),
        ('Error from server (NotFound): pods "x" not found', Absent, 'Error from server (NotFound): pods "x" not'),
        (
            "Error from server (Forbidden): pods is forbidden",
            ClusterError,
            "ask whoever runs the cluster for the right",
        ),
        ("one\ntwo", ClusterError, "kubectl: two"),
        ("", ClusterError, "kubectl failed and said nothing"),
    ],
)
def test_a_complaint_is_one_line_of_the_right_kind(said: str, kind: type[BpttError], line: str) -> None:
    fault = Kubectl().fault(said)
    assert type(fault) is kind
    assert line in str(fault)
    assert "\n" not in str(fault)


def test_a_port_is_brought_here_and_given_back(cluster: Cluster) -> None:
    cluster.mark("port", "45678")
    with forwarded(Kubectl(), "service/x", 8265) as port:
        assert port == 45678
    [call] = cluster.calls("port-forward")
    assert call["arguments"][-2:] == ["service/x", ":8265"]


def test_a_port_that_cannot_be_brought_here_is_told(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match="unable to forward port"), forwarded(Kubectl(), "service/x", 8265):
        pass


def test_the_real_one_reads_what_it_is_given(tmp_path: Path) -> None:
    if not kubectl_is_here():
        pytest.skip("kubectl is not installed")
    given = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} for name in ("one", "two")]
    # Of its commands this one asks no cluster.
    command = ["kubectl", "label", "--local", "--filename=-", "a=b", "--output=name"]
    done = subprocess.run(command, input=text_of(given), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("configmap/one\nconfigmap/two\n", "")
