"""What objects other than pods name must be there: pods that they select, services and their ports, roles, queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.deploy.pods import Pod, pods_of
from tests.deploy.references import SECRETS
from tests.deploy.rendered import Object, names, of_kind, title

CLUSTER_WIDE = ("Namespace", "ClusterRole", "ClusterRoleBinding", "ClusterQueue", "ResourceFlavor", "PriorityClass")


def misses(objects: Sequence[Object]) -> list[str]:
    """Find selectors of nothing, and names under which there is nothing."""
    checks = (places, services, budgets, ingresses, monitors, bindings, selectors, queues, spread)
    return [line for check in checks for line in check(objects)]


def places(objects: Sequence[Object]) -> list[str]:
    """Find objects outside the namespace, and two that are one to the API server."""
    there, found, seen = names(objects, "Namespace"), [], set[tuple[str, str]]()
    for each in objects:
        if each["kind"] not in CLUSTER_WIDE and each["metadata"].get("namespace") not in there:
            found.append(f"{title(each)}: there is no Namespace {each['metadata'].get('namespace')}")
        key = (each["apiVersion"].rpartition("/")[0], title(each))
        if key in seen:
            found.append(f"{title(each)} is there twice")
        seen.add(key)
    return found


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector selects; an absent one selects nothing."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for each in selector.get("matchExpressions") or ():
        value, values = labels.get(each["key"]), each.get("values", ())
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[each["operator"]]
        if not holds:
            return False
    return True


def selected(objects: Sequence[Object], selector: Mapping[str, Any] | None) -> list[Pod]:
    """Return the pods that a label selector selects."""
    return [pod for pod in pods_of(objects) if matches(selector, pod.labels)]


def services(objects: Sequence[Object]) -> list[str]:
    """Find services of no pods, and ports that their pods do not have."""
    found = []
    for each in of_kind(objects, "Service"):
        chosen = selected(objects, {"matchLabels": each["spec"].get("selector")})
        if not each["spec"].get("selector") or not chosen:
            found.append(f"{title(each)}: its selector selects no pod")
        for pod in chosen:
            for port in each["spec"]["ports"]:
                target = port.get("targetPort", port["port"])
                if target not in pod.ports and target not in pod.ports.values():
                    found.append(f"{title(each)}: {pod.owner} has no port {target}")
    return found


def budgets(objects: Sequence[Object]) -> list[str]:
    """Find budgets of no pods, and such as would keep a node from being drained for ever."""
    found = []
    for each in of_kind(objects, "PodDisruptionBudget"):
        if not selected(objects, each["spec"].get("selector")):
            found.append(f"{title(each)}: its selector selects no pod")
        for owner in of_kind(objects, "Deployment", "StatefulSet"):
            if matches(each["spec"].get("selector"), owner["spec"]["template"]["metadata"]["labels"]):
                least, replicas = each["spec"].get("minAvailable", 0), owner["spec"].get("replicas", 1)
                if isinstance(least, int) and least >= replicas:
                    found.append(f"{title(each)}: {title(owner)} has {replicas} pods, and none may ever go")
    return found


def ingresses(objects: Sequence[Object]) -> list[str]:
    """Find hosts without TLS, and backends that are no service's port."""
    ports = {each["metadata"]["name"]: each["spec"]["ports"] for each in of_kind(objects, "Service")}
    found = []
    for each in of_kind(objects, "Ingress"):
        covered = {host for tls in each["spec"].get("tls", ()) for host in tls.get("hosts", ())}
        for tls in each["spec"].get("tls", ()):
            if tls.get("secretName") not in SECRETS:
                found.append(f"{title(each)}: there is no Secret {tls.get('secretName')}")
        for rule in each["spec"].get("rules", ()):
            if rule.get("host") not in covered:
                found.append(f"{title(each)}: host {rule.get('host')} has no TLS")
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                wanted = set(service["port"].values())
                if not any(wanted & {port.get("name"), port["port"]} for port in ports.get(service["name"], ())):
                    found.append(f"{title(each)}: Service {service['name']} has no port {wanted.pop()}")
    return found


def monitors(objects: Sequence[Object]) -> list[str]:
    """Find monitors of no pods, and ports that they do not have."""
    found = []
    for each in of_kind(objects, "PodMonitor"):
        chosen = selected(objects, each["spec"]["selector"])
        if not chosen:
            found.append(f"{title(each)}: its selector selects no pod")
        for endpoint in each["spec"]["podMetricsEndpoints"]:
            lacking = [pod.owner for pod in chosen if endpoint["port"] not in pod.ports]
            found += [f"{title(each)}: {owner} has no port {endpoint['port']}" for owner in lacking]
    return found


def bindings(objects: Sequence[Object]) -> list[str]:
    """Find bindings of roles or accounts that are not there."""
    found = []
    for each in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        role = each["roleRef"]
        if role["name"] not in names(objects, role["kind"]):
            found.append(f"{title(each)}: there is no {role['kind']} {role['name']}")
        for subject in each.get("subjects", ()):
            if subject["kind"] == "ServiceAccount" and subject["name"] not in names(objects, "ServiceAccount"):
                found.append(f"{title(each)}: there is no ServiceAccount {subject['name']}")
    return found


def selectors(objects: Sequence[Object]) -> list[str]:
    """Find StatefulSets whose service is not there, and selectors that do not select their own pods."""
    found = []
    for each in of_kind(objects, "StatefulSet", "Deployment"):
        if not matches(each["spec"]["selector"], each["spec"]["template"]["metadata"]["labels"]):
            found.append(f"{title(each)}: its selector does not select its own pods")
        if each["kind"] == "StatefulSet" and each["spec"].get("serviceName") not in names(objects, "Service"):
            found.append(f"{title(each)}: there is no Service {each['spec'].get('serviceName')}")
    return found


def queues(objects: Sequence[Object]) -> list[str]:
    """Find queues that lead nowhere, and objects that wait in one that is not there."""
    found = []
    for each in of_kind(objects, "LocalQueue"):
        if each["spec"]["clusterQueue"] not in names(objects, "ClusterQueue"):
            found.append(f"{title(each)}: there is no ClusterQueue {each['spec']['clusterQueue']}")
    for each in of_kind(objects, "ClusterQueue"):
        flavors = [flavor["name"] for group in each["spec"]["resourceGroups"] for flavor in group["flavors"]]
        lacking = sorted(set(flavors) - names(objects, "ResourceFlavor"))
        found += [f"{title(each)}: there is no ResourceFlavor {name}" for name in lacking]
    for each in objects:
        queue = each["metadata"].get("labels", {}).get("kueue.x-k8s.io/queue-name")
        if queue is not None and queue not in names(objects, "LocalQueue"):
            found.append(f"{title(each)}: there is no LocalQueue {queue}")
    return found


def spread(objects: Sequence[Object]) -> list[str]:
    """Find pods that are to be spread among others than their own kind."""
    return [
        f"{pod.owner}: topologySpreadConstraints over {each.get('topologyKey')} do not select the pod itself"
        for pod in pods_of(objects)
        for each in pod.spec.get("topologySpreadConstraints", ())
        if not matches(each.get("labelSelector"), pod.labels)
    ]
