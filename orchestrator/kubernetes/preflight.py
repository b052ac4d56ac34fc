"""What an installation needs of a cluster, looked at before anything is changed: each finding says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.doctor import FAILURE, OK, WARNING, Finding
from orchestrator.errors import BpttError
from orchestrator.kubernetes.credentials import Missing
from orchestrator.kubernetes.kubectl import Absent, ClusterError, Kubectl, Object, name_of, typed, within
from orchestrator.kubernetes.sizes import Room, fits, gpus_wanted, largest_pods, least_of_all, quantity

OLDEST_CLIENT = (1, 27)
"""The first whose kustomize (5.0) reads all that the overlays say."""
KUBERAY = (1, 7)
INSTALL_KUBERAY = (
    "install the operator: kubectl create -k 'github.com/ray-project/kuberay/ray-operator/config/default?ref=v1.7.0', "
    "or its Helm chart kuberay-operator 1.7.0"
)
OPERATOR = "--selector=app.kubernetes.io/name in (kuberay,kuberay-operator)"


@dataclass(slots=True)
class Wanted:
    """What is to be installed."""

    rendered: Sequence[Object]
    look: Callable[[], Missing]
    """Compares the Secrets that are needed with those that are there."""
    missing: Missing | None = None
    """What it found, once the cluster was reached."""


def examine(kubectl: Kubectl, wanted: Wanted) -> Iterable[Finding]:
    """Make every check that can be made; where the cluster is not reached, that is the last one."""
    yield check_client(kubectl)
    reached = check_cluster(kubectl)
    yield reached
    if reached.state == FAILURE:
        return
    for check in CHECKS:
        try:
            yield from check(kubectl, wanted)
        except ClusterError as error:
            # Who may not look at nodes may have all rights that are needed in one namespace.
            state = FAILURE if check is check_secrets else WARNING
            yield Finding(check.__name__.removeprefix("check_"), state, str(error), "this was not looked at")


def check_client(kubectl: Kubectl) -> Finding:
    """Look at kubectl's version; UserError where there is none."""
    version = json.loads(kubectl.run("version", "--client", "--output=json"))["clientVersion"]["gitVersion"]
    if numbers(version) < OLDEST_CLIENT:
        wanted = ".".join(map(str, OLDEST_CLIENT))
        return Finding("kubectl", FAILURE, f"{version}; {wanted} or newer is needed", "install a newer kubectl")
    return Finding("kubectl", OK, version)


def check_cluster(kubectl: Kubectl) -> Finding:
    """Reach the API server, and compare its version with kubectl's."""
    try:
        versions = json.loads(kubectl.run("version", "--output=json"))
        server, client = (versions[f"{which}Version"]["gitVersion"] for which in ("server", "client"))
    except (BpttError, ValueError, KeyError) as error:
        return Finding("cluster", FAILURE, str(error), "start it, or choose another with --context")
    if abs(numbers(server)[1] - numbers(client)[1]) > 1:
        advice = "use a kubectl at most one minor version apart"
        return Finding("cluster", WARNING, f"{server}, far from kubectl's {client}", advice)
    return Finding("cluster", OK, server)


def check_rights(kubectl: Kubectl, wanted: Wanted) -> Iterable[Finding]:
    """Ask whether this user may make every kind of object that is wanted, and Secrets."""
    kinds = {typed(each) for each in wanted.rendered if each["kind"] != "Namespace"} | {"secret"}
    if not kubectl.has("namespace", kubectl.namespace):
        kinds.add("namespace")
    denied = [kind for kind in sorted(kinds) if not kubectl.may("create", kind)]
    if denied:
        advice = f"ask for the right to create them in namespace {kubectl.namespace}"
        yield Finding("rights", FAILURE, f"you may not create {', '.join(denied)}", advice)
    else:
        yield Finding("rights", OK, f"you may create what is needed in {kubectl.namespace}")


def check_kuberay(kubectl: Kubectl, _wanted: Wanted) -> Iterable[Finding]:
    """Look for KubeRay's definitions and its operator."""
    try:
        definition = kubectl.get("customresourcedefinition", "rayclusters.ray.io")
    except Absent:
        yield Finding("KubeRay", FAILURE, "the cluster does not know RayClusters", INSTALL_KUBERAY)
        return
    if not _knows_tokens(definition):
        advice = "install KubeRay 1.7.0 with its definitions"
        yield Finding("KubeRay", FAILURE, "its RayClusters know no token (authOptions)", advice)
        return
    operators = kubectl.find("deployments", "--all-namespaces", OPERATOR)
    if not operators:
        yield Finding("KubeRay", FAILURE, "its definitions are there, but no operator was found", INSTALL_KUBERAY)
        return
    image = str(within(operators[0], "spec", "template", "spec", "containers", 0, "image") or "")
    where = f"{operators[0]['metadata'].get('namespace')}/{name_of(operators[0])}"
    if not within(operators[0], "status", "readyReplicas"):
        yield Finding(
            "KubeRay",
            FAILURE,
            f"its operator {where} is not ready",
            f"see `kubectl describe -n {where.replace('/', ' deployment/')}`",
        )
    elif (found := numbers(image.rpartition(":")[2])) != (0, 0) and found < KUBERAY:
        advice = "tried with 1.7; take that where something fails"
        yield Finding("KubeRay", WARNING, f"its operator {where} is {image}", advice)
    else:
        yield Finding("KubeRay", OK, f"{image}")


def _knows_tokens(definition: Object) -> bool:
    versions: Any = within(definition, "spec", "versions") or ()
    path = ("schema", "openAPIV3Schema", "properties", "spec", "properties", "authOptions", "properties", "mode")
    return any(each.get("name") == "v1" and within(each, *path) is not None for each in versions)


def check_kinds(kubectl: Kubectl, wanted: Wanted) -> Iterable[Finding]:
    """Look whether the cluster knows every kind of object, such as those of Kueue or of Prometheus' operator."""
    known = set(kubectl.run("api-versions").split())
    unknown: dict[str, list[str]] = {}
    for each in wanted.rendered:
        if each["apiVersion"] not in known and not str(each["apiVersion"]).startswith("ray.io/"):
            unknown.setdefault(str(each["apiVersion"]), []).append(str(each["kind"]))
    for version, kinds in unknown.items():
        advice = "install what they belong to, or apply an overlay of your own without them"
        yield Finding("kinds", FAILURE, f"the cluster knows no {', '.join(sorted(set(kinds)))} ({version})", advice)


def check_room(kubectl: Kubectl, wanted: Wanted) -> Iterable[Finding]:
    """Look whether nodes have what the largest pods ask for, GPUs too, and whether the namespace's quota allows it."""
    nodes = [node for node in kubectl.find("nodes") if not within(node, "spec", "unschedulable")]
    there = [Room.of(within(node, "status", "allocatable") or {}) for node in nodes]
    are_gpus = any(node.gpus for node in there)
    for name, pod in largest_pods(wanted.rendered).items():
        if not any(fits(pod, node) for node in there) and (are_gpus or not pod.gpus):
            advice = "give less in the values, or add such nodes; where a node pool grows by itself all is well"
            yield Finding("nodes", WARNING, f"no node has {pod} for {name}", advice)
    count = f"{len(nodes)} node{'s'[: len(nodes) != 1]}"
    yield Finding("nodes", OK if nodes else WARNING, f"{count}, {sum(node.cpus for node in there):g} CPUs in all")
    if gpus_wanted(wanted.rendered) and not are_gpus:
        advice = "install the GPUs' device plugin; where a node pool grows from nothing all is well"
        yield Finding("GPUs", WARNING, "no node offers one: sweeps that ask for GPUs will wait", advice)
    yield from check_quota(kubectl, wanted)


def check_quota(kubectl: Kubectl, wanted: Wanted) -> Iterable[Finding]:
    """Compare what the pods ask for at first with what the namespace's quotas leave."""
    needed = least_of_all(wanted.rendered)
    for quota in kubectl.find("resourcequotas"):
        hard, used = within(quota, "status", "hard") or {}, within(quota, "status", "used") or {}
        short = [
            f"{resource} ({used.get(resource, '0')} of {limit} taken, {needed[resource]:g} more needed)"
            for resource, limit in hard.items()
            if resource in needed and quantity(used.get(resource, "0")) + needed[resource] > quantity(limit)
        ]
        if short:
            advice = "ask for more, or give less in the values; for what is installed already it counts twice"
            yield Finding("quota", WARNING, f"{name_of(quota)} leaves too little {', '.join(short)}", advice)


def check_storage(kubectl: Kubectl, wanted: Wanted) -> Iterable[Finding]:
    """Look for the storage classes that claims name, or a default where they name none."""
    claims = [each.get("spec") or {} for each in wanted.rendered if each["kind"] == "PersistentVolumeClaim"]
    for each in wanted.rendered:
        if each["kind"] == "StatefulSet":
            claims += [claim.get("spec") or {} for claim in each["spec"].get("volumeClaimTemplates", ())]
    if not claims:
        return
    classes = kubectl.find("storageclasses")
    default = "storageclass.kubernetes.io/is-default-class"
    standard = [name_of(each) for each in classes if within(each, "metadata", "annotations", default) == "true"]
    names = {claim.get("storageClassName") for claim in claims}
    there = ", ".join(map(name_of, classes)) or "none"
    for name in sorted(each for each in names if each is not None):
        if name not in map(name_of, classes):
            advice = f"set storage_class in the values; there is {there}"
            yield Finding("storage", FAILURE, f"the cluster has no storage class {name}", advice)
            return
    if None in names and not standard:
        advice = f"set storage_class in the values; there is {there}"
        yield Finding("storage", FAILURE, "the cluster has no default storage class", advice)
        return
    yield Finding("storage", OK, f"storage class {', '.join(sorted({name or standard[0] for name in names}))}")


def check_secrets(kubectl: Kubectl, wanted: Wanted) -> Iterable[Finding]:
    """Tell which Secrets are missing, and what to do about those that only the user can fill."""
    found = wanted.missing = wanted.look()
    create = f"kubectl --namespace {kubectl.namespace} create secret generic"
    for need in found.by_hand:
        keys = ", ".join(sorted(need.keys)) or "what its pods read"
        advice = f"write NAME=VALUE lines of {keys} into a file, then {create} {need.name} --from-env-file=FILE"
        yield Finding("secrets", FAILURE, f"{need.name} is missing, and only you know what is in it", advice)
    for need in found.without:
        keys = ", ".join(sorted(need.keys))
        advice = f"add it with `kubectl --namespace {kubectl.namespace} edit secret {need.name}`, or make it anew"
        yield Finding("secrets", FAILURE, f"{need.name} is there without {keys}", advice)
    for each in wanted.rendered:
        for tls in (each.get("spec") or {}).get("tls", ()) if each["kind"] == "Ingress" else ():
            if tls.get("secretName") and not kubectl.has("secret", tls["secretName"]):
                advice = (
                    f"cert-manager makes it where the Ingress asks for that; else {create.replace('generic', 'tls')}"
                )
                yield Finding("secrets", WARNING, f"{tls['secretName']} is missing: no TLS", f"{advice} ...")
    if found.made:
        yield Finding("secrets", OK, f"{', '.join(found.made)} will be made with random passwords")


def numbers(version: str) -> tuple[int, int]:
    """Return the first two numbers of a version; zeros where it has none."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


Check = Callable[[Kubectl, Wanted], Iterable[Finding]]
CHECKS: tuple[Check, ...] = (check_rights, check_kuberay, check_kinds, check_room, check_storage, check_secrets)
