"""What the README says of Kubernetes, word by word."""

from __future__ import annotations

import base64
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from orchestrator.kubernetes.credentials import missing
from orchestrator.kubernetes.kubectl import Kubectl
from orchestrator.kubernetes.manifests import overlay
from orchestrator.kubernetes.render import objects, rendered
from orchestrator.kubernetes.values import Values, read_values
from tests.kubernetes import Cluster, secret
from tests.orchestrator.cli.conftest import Bptt

ROOT = Path(__file__).parents[3]
SECTION = (ROOT / "README.md").read_text().partition("\n## On Kubernetes\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)


def block(word: str) -> str:
    [found] = [each for each in BLOCKS if word in each]
    return str(found)


def shell(commands: str) -> str:
    done = subprocess.run(["bash", "-euc", commands], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kubectl_alone_makes_every_secret_that_is_needed(cluster: Cluster) -> None:
    shell(block("create -k"))
    shell(block("random() {"))
    local = objects(rendered(overlay("local"), Values(), namespace="bptt"))
    found = missing(Kubectl(), local, Values(), {})
    assert (found.made, found.by_hand, found.without) == ({}, [], [])
    content = cluster.read("secret", "bptt-databases")["data"]
    plain = {key: base64.b64decode(value).decode() for key, value in content.items()}
    assert plain["study_url"] == f"postgresql+psycopg://sweeps:{plain['sweeps_password']}@postgres:5432/sweeps"
    assert len(plain["sweeps_password"]) == 48
    applied = [call["arguments"][-1] for call in cluster.calls("apply")]
    assert applied == ["k8s/base/namespace.yaml", "k8s/overlays/local", "k8s/overlays/local/sweep"]
    assert not [call for call in cluster.calls() if plain["sweeps_password"] in str(call["arguments"])]


def test_the_database_is_reached_from_here(cluster: Cluster) -> None:
    secret(cluster, "bptt-databases", study_url="postgresql+psycopg://sweeps:pw@postgres:5432/sweeps")
    lines = block("port-forward service/postgres").splitlines()
    said = shell("\n".join([*lines[1:-1], 'echo "$BPTT_STUDY_URL"']))
    assert said == "postgresql+psycopg://sweeps:pw@localhost:5432/sweeps\n"


def test_every_command_is_accepted(bptt: Bptt, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.mark("ready")
    cluster.mark(
        "rayjob-status.json", '{"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": "bptt"}'
    )
    labels = {"ray.io/cluster": "bptt", "ray.io/node-type": "head"}
    cluster.put("head", {"kind": "Pod", "status": {"phase": "Running"}}, labels=labels)
    for line in block("bptt k8s apply local --dry-run").splitlines():
        words = shlex.split(line, comments=True)[1:]
        asks = words[1] == "delete" or words[1:] == ["apply", "local"]
        answer = bptt(*words, *(["--yes"] if asks else []))
        assert answer.status == 0, (line, answer.err)
    assert cluster.names("rayjob") == []


def test_the_values_shown_are_values() -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    assert read_values(yaml.safe_load(shown)).hosts.mlflow == "mlflow.example.com"
