"""What this project asks of every pod beyond Kubernetes: limits, probes, nothing writable, no rights, time to end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.deploy.pods import AUTOSCALER, Pod, pods_of, ray_specs
from tests.deploy.rendered import Object, of_kind, title
from tests.deploy.rights import ROLE

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
DRAIN, DRAINS_S = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", 30.0
"""Ray's variable for how long a node that is told to end drains, and its default."""
AGENT_PORT = 52365
"""Where Ray's agent on each node tells how it is."""
GPU = "nvidia.com/gpu"
UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
PINNED = re.compile(r"(?P<name>[^@]+?)(:(?P<tag>[\w][\w.-]*))?(@sha256:[0-9a-f]{64})?")


def gaps(objects: Sequence[Object]) -> list[str]:
    """Find pods that are not as this project wants them."""
    found = []
    for pod in pods_of(objects):
        for check in (resources, probes, nothing_writable, rights, images, grace):
            found += [f"{pod.owner}: {line}" for line in check(pod)]
    for owner, spec in ray_specs(objects):
        found += [f"{title(owner)}: {line}" for line in (*ray_resources(spec), *from_zero(spec))]
    for each in of_kind(objects, "Role", "ClusterRole"):
        found += [f"{title(each)}: {line}" for line in role(each)]
    return found


def amount(quantity: Any) -> float:
    """Return a quantity of Kubernetes' as a number."""
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", str(quantity)).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


def resources(pod: Pod) -> Iterator[str]:
    """What asks for nothing is killed first, or starves others; memory that is not asked for is not there."""
    for each in pod.containers:
        given = each.get("resources", {})
        requests, limits = given.get("requests", {}), given.get("limits", {})
        for kind in ("cpu", "memory"):
            if kind not in requests or kind not in limits:
                yield f"container {each['name']}: {kind} has no request and limit"
            elif amount(requests[kind]) > amount(limits[kind]):
                yield f"container {each['name']}: the request for {kind} is above its limit"
        if requests.get("memory") != limits.get("memory"):
            yield f"container {each['name']}: memory: request and limit differ"
    for volume in pod.spec.get("volumes", ()):
        if "emptyDir" in volume and not (volume["emptyDir"] or {}).get("sizeLimit"):
            yield f"volume {volume['name']}: emptyDir has no sizeLimit"


def probes(pod: Pod) -> Iterator[str]:
    """What serves is asked whether it does; jobs end by themselves."""
    serves = pod.owner.startswith(("Deployment/", "StatefulSet/"))
    if not serves and not pod.ray:
        return
    for each in pod.spec["containers"] if serves else pod.spec["containers"][:1]:
        for kind in ("startup", "readiness", "liveness") if serves else ("readiness", "liveness"):
            probe = each.get(f"{kind}Probe")
            if not probe:
                yield f"container {each['name']}: no {kind}Probe"
                continue
            port = next((probe[way]["port"] for way in ("httpGet", "tcpSocket") if way in probe), None)
            if port not in {None, AGENT_PORT, *pod.ports, *pod.ports.values()}:
                yield f"container {each['name']}: {kind}Probe: there is no port {port}"


def nothing_writable(pod: Pod) -> Iterator[str]:
    """What is written goes to volumes."""
    for each in pod.containers:
        if (each.get("securityContext") or {}).get("readOnlyRootFilesystem") is not True:
            yield f"container {each['name']}: readOnlyRootFilesystem is not true"


def rights(pod: Pod) -> Iterator[str]:
    """Nothing but the autoscaler talks to the API server."""
    if pod.spec.get("serviceAccountName", "default") == "default":
        yield "it runs as the account default"
    if pod.spec.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken is not false"
    tokens = {
        volume["name"]
        for volume in pod.spec.get("volumes", ())
        for source in volume.get("projected", {}).get("sources", ())
        if "serviceAccountToken" in source
    }
    for each in pod.containers:
        mounts = {mount["name"]: mount["mountPath"] for mount in each.get("volumeMounts", ())}
        if each["name"] == AUTOSCALER:
            if not any(mounts.get(name) == TOKEN_PATH for name in tokens):
                yield f"container {AUTOSCALER}: no token at {TOKEN_PATH}, and it cannot scale without"
        elif tokens & set(mounts):
            yield f"container {each['name']}: it has a token of the API server"


def images(pod: Pod) -> Iterator[str]:
    """The same manifests are the same programs tomorrow."""
    for each in pod.containers:
        found = PINNED.fullmatch(each.get("image") or "")
        if found is None or (found["tag"] in (None, "latest") and "@" not in each["image"]):
            yield f"container {each['name']}: image {each.get('image')!r} has no version"


def grace(pod: Pod) -> Iterator[str]:
    """A node of Ray's that is killed in the middle of its drain loses what its trials were to write."""
    if not pod.ray:
        return
    variables = {each["name"]: each.get("value") for each in pod.spec["containers"][0].get("env", ())}
    drains_s, grace_s = float(variables.get(DRAIN, DRAINS_S)), pod.spec.get("terminationGracePeriodSeconds", 30)
    if grace_s <= drains_s:
        yield f"terminationGracePeriodSeconds {grace_s} is not above {DRAIN} {drains_s:g}"


def ray_resources(spec: Mapping[str, Any]) -> Iterator[str]:
    """Ray counts what its node has by the limits, in whole CPUs, whatever is really there."""
    if (spec["headGroupSpec"].get("rayStartParams") or {}).get("num-cpus") != "0":
        yield 'head: num-cpus is not "0", so that trials come beside the drivers'
    groups = [spec["headGroupSpec"], *spec.get("workerGroupSpecs", ())]
    for group in groups:
        name, container = group.get("groupName", "head"), group["template"]["spec"]["containers"][0]
        given = container.get("resources", {})
        if given.get("requests") != given.get("limits"):
            yield f"group {name}: requests differ from limits"
        if amount(given.get("limits", {}).get("cpu", 0)) % 1:
            yield f"group {name}: CPUs are not whole"
        if GPU not in given.get("limits", {}):
            continue
        if "num-gpus" in (group.get("rayStartParams") or {}):
            yield f"group {name}: num-gpus follows from the limits"
        tolerated = [each.get("key") for each in group["template"]["spec"].get("tolerations", ())]
        if GPU not in tolerated:
            yield f"group {name}: nodes with GPUs are tainted with {GPU}, which it does not tolerate"


def from_zero(spec: Mapping[str, Any]) -> Iterator[str]:
    """GPUs are there while a sweep asks for them."""
    for group in spec.get("workerGroupSpecs", ()):
        limits = group["template"]["spec"]["containers"][0].get("resources", {}).get("limits", {})
        if GPU in limits and (group.get("minReplicas") or group.get("replicas")):
            yield f"group {group['groupName']}: GPUs are kept though nothing asks for them"


def role(found: Object) -> Iterator[str]:
    """A role says what it allows, and gives away no secrets but the one that it names.

    Who runs sweeps may have any that a RayJob can mount, and so may open containers too.
    """
    for rule in found.get("rules") or ():
        if any("*" in rule.get(key, ()) for key in ("verbs", "resources", "apiGroups")):
            yield "a rule allows *"
        named = set(rule["resources"]) if rule.get("resourceNames") else set[str]()
        needed = {"pods/exec"} if found["metadata"]["name"] == ROLE else set[str]()
        if {"secrets", "pods/exec", "pods/attach"} & set(rule.get("resources", ())) - named - needed:
            yield "a rule gives secrets away, or what is in a pod's variables"
