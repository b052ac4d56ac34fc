"""The `local` overlay in containers: every pod from its manifest, PostgreSQL and S3 from what this machine has.

The images of PostgreSQL and SeaweedFS cannot be had without a registry: PostgreSQL's server is this machine's own and
S3 is moto's, each in the place, under the labels and behind the policies of the pod that it stands for.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import postgres
from tests.deploy.containers import podman
from tests.deploy.containers.manifests import (
    TOKEN_KEY,
    TOKEN_SECRET,
    Manifests,
    playable,
    pod_of,
    ray_pod,
    with_settings,
)
from tests.deploy.containers.network import Place, PodNetwork

BUCKET = "bptt"
HEAD_SERVICE = "bptt-head-svc.bptt.svc.cluster.local"
MOST_TRIES = 4
DATABASES = ("sweeps", "mlflow", "mlflow_auth")


class PostgresThere(postgres.PostgresServer):
    """PostgreSQL where the pod of that name would be."""

    def __init__(self, folder: Path, place: Place) -> None:
        super().__init__(folder, "127.0.0.1")
        self.place, self.address, self.port = place, place.address, 5432

    def _run(self, *command: str) -> None:
        owner = postgres.unprivileged()
        into = self.place.command("setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups")
        with (self.folder / "errors").open("a") as errors:
            subprocess.run([*into, *command], cwd=self.folder, stdout=errors, stderr=errors, check=True, timeout=120)


@dataclass
class Cluster:
    """What runs, and the secrets that it runs with."""

    folder: Path
    network: PodNetwork
    manifests: Manifests
    places: dict[str, Place] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=lambda: {name: secrets.token_hex(16) for name in DATABASES})
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    tracking_password: str = field(default_factory=lambda: secrets.token_hex(16))
    keys: tuple[str, str] = field(default_factory=lambda: (secrets.token_hex(10), secrets.token_hex(20)))

    def place(self, name: str, labels: dict[str, str], *, namespace: str = "bptt", process: int | None = None) -> Place:
        """Make a place on the network."""
        self.places[name] = self.network.add(name, labels, namespace=namespace, process=process)
        return self.places[name]

    def hosts(self, name: str) -> Path:
        """Write the names of services, and where they are, for one pod; return the file."""
        services: dict[str, str] = {each: each for each in ("postgres", "seaweedfs", "mlflow") if each in self.places}
        heads = [each for each in self.places if each.startswith("head")]
        services |= {HEAD_SERVICE: heads[-1]} if heads else {}
        file = self.folder / f"{name}.hosts"
        lines = [f"{self.places[place].address} {service}" for service, place in services.items()]
        file.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        file.chmod(0o644)
        return file

    def url(self, database: str, host: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"postgresql+psycopg://{database}:{self.passwords[database]}@{host}:5432/{database}"

    def make_secrets(self) -> None:
        """Make the Secrets that `bptt k8s apply` makes, and the one of KubeRay."""
        endpoint = "http://seaweedfs:8333"
        checkpoints = f"s3://{BUCKET}/checkpoints?scheme=http&endpoint_override=seaweedfs:8333&region=us-east-1"
        databases = {"study_url": self.url("sweeps"), "mlflow_url": self.url("mlflow")}
        podman.make_secret("bptt-databases", {**databases, "mlflow_auth_url": self.url("mlflow_auth")})
        tracking = {"username": "bptt", "password": self.tracking_password, "flask_secret": secrets.token_hex(32)}
        podman.make_secret("bptt-tracking", tracking)
        keys = {
            "access_key_id": self.keys[0],
            "secret_access_key": self.keys[1],
            "bucket": BUCKET,
            "endpoint": endpoint,
        }
        uris = {"checkpoints_uri": checkpoints, "artifacts_uri": f"s3://{BUCKET}/artifacts"}
        podman.make_secret("bptt-storage", {**keys, **uris})
        podman.make_secret(TOKEN_SECRET, {TOKEN_KEY: self.token})

    def start(self, made: dict[str, Any]) -> Place:
        """Start a pod in a place of its own."""
        name = made["metadata"]["name"]
        podman.remove_pod(name)
        process = podman.make_pod(with_settings(playable(made, self.hosts(name)), self.manifests.of("ConfigMap")))
        place = self.place(name, made["metadata"]["labels"], namespace=made["metadata"]["namespace"], process=process)
        podman.start_pod(name)
        return place

    def end(self, name: str) -> None:
        """Take a pod away as a lost node does: everything in it ends at once."""
        podman.remove_pod(name)
        self.network.remove(self.places.pop(name))

    def end_all(self) -> None:
        """Take everything away."""
        for name in list(self.places):
            self.end(name)

    def start_mlflow(self) -> None:
        """Start MLflow and wait until it is healthy; whoever runs finds it under its name, as behind a Service."""
        place = self.start(pod_of(self.manifests.one("Deployment", "mlflow"), "mlflow"))
        for name in self.places:
            self.hosts(name)
        wait(lambda: answers(place, 5000, "/health"), 180, "MLflow is healthy")

    def start_ray(self, suffix: str) -> None:
        """Start a head and two workers, as the operator and its autoscaler would."""
        cluster = self.manifests.one("RayCluster", "bptt")
        self.start_node(ray_pod(cluster, f"head{suffix}"))
        for number in (1, 2):
            self.start_node(ray_pod(cluster, f"worker{suffix}{number}", group="cpu"))

    def start_node(self, made: dict[str, Any]) -> None:
        """Start a Ray node and wait until it is healthy; one that gives up is followed by another.

        Ray gives its parts half a minute to start, which is little on a machine that has other work.
        """
        name, container = made["metadata"]["name"], made["spec"]["containers"][0]["name"]
        for tries_left in reversed(range(MOST_TRIES)):
            self.start(made)
            try:
                wait(lambda: self.is_healthy(name, container), 240, f"{name} is healthy")
                return
            except RuntimeError:
                if not tries_left:
                    raise
                self.end(name)

    def end_ray(self) -> None:
        """Take all of Ray away."""
        for name in [name for name in self.places if name.startswith(("head", "worker"))]:
            self.end(name)

    def is_healthy(self, pod: str, container: str) -> bool:
        """Ask a Ray node what KubeRay's probes ask it; RuntimeError where its container has ended."""
        full = f"{pod}-{container}"
        if podman.state(full)["Status"] == "exited":
            raise RuntimeError(f"{full} ended: {podman.state(full)}\n{podman.logs(full)[-3000:]}")
        ask = "from urllib.request import urlopen; urlopen('http://127.0.0.1:52365/api/healthz', timeout=4)"
        said = podman.inside(full, "bash", "-c", f'python -c "{ask}" 2> /dev/null && echo yes', check=False)
        return "yes" in said and "Ray runtime started" in podman.logs(full)

    def bptt(self, *arguments: str, check: bool = True) -> str:
        """Call bptt where drivers run."""
        head = [name for name in self.places if name.startswith("head")][-1]
        return podman.inside(f"{head}-ray-head", "bptt", *arguments, check=check)


def wait(holds: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Wait until something holds; return the seconds that took. TimeoutError says what."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > timeout_s:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.5)
    return time.monotonic() - began


@contextmanager
def databases(cluster: Cluster) -> Iterator[None]:
    """PostgreSQL in its pod's place, set up by the script of the manifests."""
    place = cluster.place("postgres", {"app.kubernetes.io/name": "postgres"})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(_short_folder()))
        server = PostgresThere(folder, place)
        server.make()
        stack.callback(server.stop, "immediate")
        script = cluster.manifests.one("ConfigMap", "postgres-init")["data"]["databases.sh"]
        environ = {"PATH": os.environ["PATH"], "POSTGRES_USER": postgres.USER, "PGPASSWORD": postgres.PASSWORD}
        environ |= {"PGHOST": place.address, "PGDATABASE": "postgres"}
        environ |= {f"{name.upper()}_PASSWORD": password for name, password in cluster.passwords.items()}
        subprocess.run(place.command("bash"), input=script, text=True, env=environ, check=True, capture_output=True)
        yield


@contextmanager
def _short_folder() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="bptt-pg-", dir="/tmp")  # the path of a socket may not be long
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def objects(cluster: Cluster) -> Iterator[None]:
    """S3 in the place of SeaweedFS's pod."""
    place = cluster.place("seaweedfs", {"app.kubernetes.io/name": "seaweedfs"})
    command = place.command(sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", "8333")
    with (cluster.folder / "s3.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait(lambda: answers(place, 8333), 60, "the S3 server answers")
        yield
    finally:
        server.terminate()
        server.wait(20)


def answers(place: Place, port: int, path: str = "/") -> bool:
    """Tell whether HTTP is answered in a pod, asked from within as a kubelet or `kubectl port-forward` would."""
    ask = f"from urllib.request import urlopen; urlopen('http://127.0.0.1:{port}{path}', timeout=5)"
    return subprocess.run(place.command(sys.executable, "-c", ask), capture_output=True, check=False).returncode == 0


@contextmanager
def deployed(folder: Path) -> Iterator[Cluster]:
    """Bring everything up but Ray, in the order in which Kubernetes does, and take it all down in the end."""
    manifests = Manifests("local")
    with ExitStack() as stack:
        network = stack.enter_context(PodNetwork(manifests.of("NetworkPolicy")))
        cluster = Cluster(folder, network, manifests)
        stack.callback(cluster.end_all)
        stack.enter_context(databases(cluster))
        stack.enter_context(objects(cluster))
        cluster.make_secrets()
        for job, container in (("bucket", "bucket"), ("mlflow-migrate", "migrate")):
            cluster.start(pod_of(manifests.one("Job", job), job))
            podman.wait_for_end(f"{job}-{container}", 300)
        cluster.start_mlflow()
        yield cluster
