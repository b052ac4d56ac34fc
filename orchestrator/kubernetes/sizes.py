"""What pods ask for, in numbers: quantities of Kubernetes, the largest pods, and what is asked for at least."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.kubernetes.kubectl import Object, name_of, within

UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15} | {
    f"{prefix}i": 1024.0**power for power, prefix in enumerate("KMGTP", start=1)
}


def quantity(text: object) -> float:
    """Return a quantity of Kubernetes as a number: `500m`, `8Gi`, `1e3`; 0 for what is none."""
    found = re.fullmatch(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)", str(text))
    return float(found[1]) * UNITS.get(found[2], 0.0) if found else 0.0


@dataclass(frozen=True, slots=True)
class Room:
    """What a pod asks for, or a node offers."""

    cpus: float = 0.0
    memory: float = 0.0
    """Bytes."""
    gpus: float = 0.0

    @classmethod
    def of(cls, resources: Mapping[str, Any]) -> Room:
        """Read requests or what is allocatable."""
        gpus = sum(quantity(value) for name, value in resources.items() if name.endswith("/gpu"))
        return cls(quantity(resources.get("cpu", 0)), quantity(resources.get("memory", 0)), gpus)

    def __add__(self, other: Room) -> Room:
        return Room(self.cpus + other.cpus, self.memory + other.memory, self.gpus + other.gpus)

    def __str__(self) -> str:
        gpus = f", {self.gpus:g} GPUs" if self.gpus else ""
        return f"{self.cpus:g} CPUs, {self.memory / 2**30:.3g} GiB{gpus}"


def fits(pod: Room, node: Room) -> bool:
    """Tell whether a pod would fit on an empty node."""
    return pod.cpus <= node.cpus and pod.memory <= node.memory and pod.gpus <= node.gpus


def _pods(rendered: Sequence[Object]) -> Iterator[tuple[str, Object, int, int]]:
    """Yield every kind of pod: what it is called, its specification, and how many there are at least and at first."""
    for each in rendered:
        spec: Any = each.get("spec") or {}
        if each["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield name_of(each), spec["template"]["spec"], spec.get("replicas", 1), spec.get("replicas", 1)
        if each["kind"] in ("RayCluster", "RayJob"):
            cluster = spec.get("rayClusterSpec", spec)
            yield f"{name_of(each)}'s head", cluster["headGroupSpec"]["template"]["spec"], 1, 1
            for group in cluster.get("workerGroupSpecs", ()):
                name = f"{name_of(each)}'s workers {group.get('groupName', '')}".rstrip()
                least = group.get("minReplicas", 0)
                yield name, group["template"]["spec"], least, group.get("replicas", least)


def _room(pod: Object) -> Room:
    asked = Room()
    for container in pod.get("containers", ()):
        resources: Any = container.get("resources") or {}
        asked += Room.of({**(resources.get("limits") or {}), **(resources.get("requests") or {})})
    return asked


def largest_pods(rendered: Sequence[Object]) -> dict[str, Room]:
    """Return what each kind of pod asks for of one node, by its name."""
    return {name: _room(pod) for name, pod, _, _ in _pods(rendered)}


def gpus_wanted(rendered: Sequence[Object]) -> bool:
    """Tell whether any pod asks for a GPU."""
    return any(room.gpus for room in largest_pods(rendered).values())


def least_of_all(rendered: Sequence[Object]) -> dict[str, float]:
    """Return what all pods together ask for at first, by the names that a quota has for it."""
    total, pods = Room(), 0
    for _, pod, least, first in _pods(rendered):
        count = max(least, first)
        pods += count
        for _ in range(count):
            total += _room(pod)
    by_name = {"cpu": total.cpus, "memory": total.memory}
    wanted = {f"requests.{name}": value for name, value in by_name.items()}
    claims = sum(each["kind"] == "PersistentVolumeClaim" for each in rendered)
    claims += sum(len(within(each, "spec", "volumeClaimTemplates") or ()) for each in rendered)
    return {**by_name, **wanted, "pods": pods, "persistentvolumeclaims": claims}
