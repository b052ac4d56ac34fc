"""What somebody who is bound to the Role `bptt-sweeps` may do: what the commands for sweeps need, and no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.kubernetes.credentials import token_secret
from tests.deploy.rendered import Object, named, names

ROLE = "bptt-sweeps"
LOOKING = {
    "rayjobs.ray.io: list",
    "rayclusters.ray.io: list",
    "pods: list",
    "events: list",
}
"""How the sweeps' RayJobs stand, and why one waits."""
PARTS = {"statefulsets.apps: list", "deployments.apps: list", "jobs.batch: list"}
FORWARD = {"services: get", "pods: get", "pods: list", "pods/portforward: create", "pods/portforward: get"}
NEEDED: Mapping[str, set[str]] = {
    "status": LOOKING | PARTS | {"configmaps: get"},
    "submit": LOOKING
    | {f"rayjobs.ray.io: {verb}" for verb in ("get", "create", "delete")}
    | {f"configmaps: {verb}" for verb in ("get", "create", "update")},
    "submit --running": {"rayclusters.ray.io: get", "secrets/NAME: get"} | FORWARD,
    "logs of a sweep": LOOKING | {"pods: get", "pods/exec: create", "pods/exec: get"},
    "logs of a part": LOOKING
    | PARTS
    | {"pods: get", "pods/log: get"}
    | {f"{kind}: get" for kind in ("statefulsets.apps", "deployments.apps", "jobs.batch")},
    "a terminal that reaches MLflow": FORWARD,
}
"""Of each command of `bptt k8s` that a sweep is run with; secrets/NAME is the one that holds the cluster's token.

kubectl opens streams by GET where both sides know WebSockets (since 1.30), and by POST else.
"""


def granted(role: Object) -> Iterator[str]:
    """Yield the rights of a Role, as `resource.group: verb`; with the name of the object where it is but to one."""
    for rule in role.get("rules") or ():
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                kind = f"{resource}.{group}".rstrip(".")
                for name in rule.get("resourceNames") or [""]:
                    yield from (f"{kind}/{name}: {verb}" if name else f"{kind}: {verb}" for verb in rule["verbs"])


def faults(objects: Sequence[Object]) -> list[str]:
    """Find commands that the Role does not suffice for, and what it gives without need."""
    if ROLE not in names(objects, "Role"):
        return [f"there is no Role {ROLE}"]
    there = set(granted(named(objects, "Role", ROLE)))
    secret = token_secret(named(objects, "RayCluster", "bptt"))
    needed = {command: {right.replace("NAME", secret) for right in rights} for command, rights in NEEDED.items()}
    found = [f"Role/{ROLE}: `{command}` needs {', '.join(lacking)}" for command, lacking in _lacking(needed, there)]
    needless = there - set[str]().union(*needed.values())
    # Who may list may watch: it is the same, told as it changes.
    needless -= {right.replace(": list", ": watch") for right in there if right.endswith(": list")}
    return found + [f"Role/{ROLE}: no command needs {right}" for right in sorted(needless)]


def _lacking(needed: Mapping[str, set[str]], there: set[str]) -> Iterator[tuple[str, Any]]:
    for command, rights in needed.items():
        if rights - there:
            yield command, sorted(rights - there)
