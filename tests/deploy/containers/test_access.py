"""Who reaches whom, as the NetworkPolicies say it; and what whoever gets through still lacks."""

from __future__ import annotations

import json

import pytest

from tests.deploy.containers import podman
from tests.deploy.containers.conftest import MLFLOW
from tests.deploy.containers.deployment import Cluster
from tests.deploy.containers.manifests import pod

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(3600)]
PORTS = {
    "gcs": ("head1", 6379),
    "dashboard": ("head1", 8265),
    "client": ("head1", 10001),
    "metrics": ("head1", 8080),
    "tracking": ("mlflow", 5000),
    "database": ("postgres", 5432),
    "storage": ("seaweedfs", 8333),
}
REACH = """
import json, socket, sys
found = []
for name, (address, port) in json.loads(sys.argv[1]).items():
    try:
        socket.create_connection((address, port), timeout=2).close()
        found.append(name)
    except OSError:
        pass
print(json.dumps(found))
"""
ASK = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def reached(cluster: Cluster, container: str) -> set[str]:
    where = {name: (cluster.places[place].address, port) for name, (place, port) in PORTS.items()}
    found: list[str] = json.loads(podman.inside(container, "python", "-c", REACH, json.dumps(where)))
    return set(found)


def stranger(cluster: Cluster, name: str, namespace: str) -> str:
    """Start a container that belongs to nobody, and return its name."""
    container = {"name": "it", "image": MLFLOW.removeprefix("localhost/"), "command": ["sleep", "infinity"]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    made = pod(name, {}, spec)
    made["metadata"]["namespace"] = namespace
    cluster.start(made)
    return f"{name}-it"


@pytest.mark.parametrize("namespace", ["bptt", "default"])
def test_a_foreign_container_reaches_nothing(namespace: str, cluster: Cluster) -> None:
    name = f"stranger-{namespace}"
    container = stranger(cluster, name, namespace)
    try:
        assert reached(cluster, container) == set()
        # The policies are what keeps it out: without them all is there to be reached.
        for place in cluster.places.values():
            podman.call(*place.command("nft", "delete", "table", "inet", "policies"))
        assert reached(cluster, container) == set(PORTS)
    finally:
        cluster.network.enforce()
        cluster.end(name)


def test_each_part_reaches_what_it_needs_and_no_more(cluster: Cluster) -> None:
    ray = {"gcs", "dashboard", "client"}  # from within its own place all of its ports are open to it
    assert reached(cluster, "head1-ray-head") == ray | {"metrics", "tracking", "database", "storage"}
    assert reached(cluster, "worker11-ray-worker") == ray | {"storage"}
    assert reached(cluster, "mlflow-mlflow") == {"tracking", "database", "storage"}


def test_who_gets_through_is_asked_for_a_token_or_a_password(cluster: Cluster) -> None:
    def asked(place: str, url: str) -> str:
        return podman.call(*cluster.places[place].command("python3", "-c", ASK, url)).strip()

    assert asked("head1", "http://127.0.0.1:8265/api/jobs/") == "401"
    assert asked("head1", "http://127.0.0.1:8265/api/gcs_healthz") == "200"
    assert asked("mlflow", "http://127.0.0.1:5000/api/2.0/mlflow/experiments/search?max_results=1") == "401"
    assert asked("mlflow", "http://127.0.0.1:5000/health") == "200"
    joined = "import ray; ray.init(address='127.0.0.1:6379'); print('in')"
    command = ["env", "RAY_AUTH_TOKEN=" + "0" * 64, "python", "-c", joined]
    assert "in\n" not in podman.inside("head1-ray-head", *command, check=False)


def test_containers_have_no_right_beyond_their_own_files(cluster: Cluster) -> None:
    for container in ("head1-ray-head", "worker11-ray-worker", "mlflow-mlflow"):
        status = dict(
            line.split(":\t", 1) for line in podman.inside(container, "cat", "/proc/self/status").splitlines()
        )
        assert status["Uid"].split() == ["10001"] * 4
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        assert "Read-only" in podman.inside(container, "sh", "-c", "touch /opt/x 2>&1 || true")


def test_nodes_that_train_know_no_password(cluster: Cluster) -> None:
    known = podman.inside("worker11-ray-worker", "env")
    assert cluster.token in known
    for secret in (*cluster.passwords.values(), cluster.tracking_password):
        assert secret not in known
