"""A mistake planted into manifests, and the ways to the places where people make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.deploy.rendered import Object, named, of_kind

PRODUCTION, LOCAL, GPU = "overlays/production", "overlays/local", "overlays/gpu"
SWEEP, QUEUED = "overlays/local/sweep", "overlays/production/sweep"


@dataclass(frozen=True)
class Fault:
    """A mistake, planted into what a kustomization renders to."""

    what: str
    where: str
    plant: Callable[[list[Object]], object]
    words: str
    needs_crds: bool = False


def cluster(objects: Sequence[Object]) -> Any:
    """Return the spec of the Ray cluster: that of the sweep's job, where there is one."""
    for job in of_kind(objects, "RayJob"):
        return job["spec"]["rayClusterSpec"]
    (found,) = of_kind(objects, "RayCluster")
    return found["spec"]


def job(objects: Sequence[Object]) -> Any:
    """Return the RayJob."""
    (found,) = of_kind(objects, "RayJob")
    return found


def head(objects: Sequence[Object]) -> Any:
    """Return the spec of the head's pod."""
    return cluster(objects)["headGroupSpec"]["template"]["spec"]


def worker(objects: Sequence[Object], group: int = 0) -> Any:
    """Return the spec of a worker's pod: 0 is the group of CPUs, 1 that of GPUs."""
    return cluster(objects)["workerGroupSpecs"][group]["template"]["spec"]


def pod(objects: Sequence[Object], kind: str, name: str) -> Any:
    """Return the pod's spec of a Deployment, a StatefulSet or a Job."""
    return named(objects, kind, name)["spec"]["template"]["spec"]


def mlflow(objects: Sequence[Object]) -> Any:
    """Return MLflow's container."""
    return pod(objects, "Deployment", "mlflow")["containers"][0]


def policy(objects: Sequence[Object], name: str) -> Any:
    """Return the spec of a network policy."""
    return named(objects, "NetworkPolicy", name)["spec"]


def rule(objects: Sequence[Object], resource: str) -> Any:
    """Return the rule about a resource in the Role of those who run sweeps."""
    (found,) = (each for each in named(objects, "Role", "bptt-sweeps")["rules"] if resource in each["resources"])
    return found


def variable(container: Any, name: str) -> Any:
    """Return a variable of a container."""
    (found,) = (each for each in container["env"] if each["name"] == name)
    return found


def without(objects: list[Object], kind: str, name: str) -> None:
    """Take an object away."""
    objects.remove(named(objects, kind, name))


def data(objects: Sequence[Object], name: str) -> Any:
    """Return what a ConfigMap holds."""
    return named(objects, "ConfigMap", name)["data"]
