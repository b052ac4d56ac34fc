"""NetworkPolicies as a cluster would apply them: who reaches whom, who must, who must not, and policies of nothing."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.deploy.pods import METRICS_PORT, Pod, pods_of
from tests.deploy.rendered import Object, names, of_kind, title
from tests.deploy.targets import matches, selected

NAMESPACE = {"kubernetes.io/metadata.name": "bptt"}
METADATA = "169.254.169.254"
"""Where clouds tell a node's own credentials."""


@dataclass(frozen=True)
class Place:
    """One end of a connection: a pod with its namespace, or an address outside."""

    what: str
    labels: Mapping[str, str] | None = None
    namespace: Mapping[str, str] | None = None
    address: str = ""


DNS = Place("DNS", {"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"})
OPERATOR = Place(
    "KubeRay's operator",
    {"app.kubernetes.io/name": "kuberay-operator"},
    {"kubernetes.io/metadata.name": "kuberay-system"},
)
PROMETHEUS = Place(
    "Prometheus", {"app.kubernetes.io/name": "prometheus"}, {"kubernetes.io/metadata.name": "monitoring"}
)
INGRESS = Place("the ingress controller", {"app": "ingress"}, {"kubernetes.io/metadata.name": "ingress"})
STRANGER = Place("a pod of another namespace", {"app": "stranger"}, {"kubernetes.io/metadata.name": "default"})
OUTSIDE = Place("the Internet", address="203.0.113.7")
NODE = Place("a cloud's metadata", address=METADATA)


def faults(objects: Sequence[Object]) -> list[str]:
    """Find policies that select nothing or everything, connections that are missing, and such as must not be."""
    policies = list(of_kind(objects, "NetworkPolicy"))
    if not policies:
        return []
    found = [] if any(denies_all(each) for each in policies) else ["no NetworkPolicy denies what none allows"]
    for each in policies:
        found += [f"{title(each)}: {line}" for line in of_policy(each, objects)]
    found += [f"{line} cannot be reached" for line in _failing(objects, needed(objects), wanted=True)]
    found += [f"{line} can be reached" for line in _failing(objects, forbidden(objects), wanted=False)]
    return found


def denies_all(policy: Object) -> bool:
    """Tell whether it shuts all pods off, both ways."""
    spec = policy["spec"]
    shuts = set(spec.get("policyTypes", ())) == {"Ingress", "Egress"} and not (
        spec.get("ingress") or spec.get("egress")
    )
    return shuts and not spec.get("podSelector")


def of_policy(policy: Object, objects: Sequence[Object]) -> Iterator[str]:
    """Find what lets in everyone or to everywhere, and what it says of pods and ports that there are none of."""
    spec = policy["spec"]
    own = selected(objects, spec.get("podSelector"))
    if not own:
        yield "its podSelector selects no pod"
    for direction, key in (("Ingress", "from"), ("Egress", "to")):
        rules = spec.get(direction.lower()) or []
        if rules and direction not in spec.get("policyTypes", ("Ingress",)):
            yield f"it has rules for {direction} that policyTypes leaves out"
        for rule in rules:
            if not rule.get(key):
                yield f"a rule for {direction} is open to everyone"
            if not rule.get("ports"):
                yield f"a rule for {direction} is open on every port"
            peers = [peer for peer in rule.get(key) or () if "podSelector" in peer and "namespaceSelector" not in peer]
            chosen = [pod for peer in peers for pod in selected(objects, peer["podSelector"])]
            for peer in peers:
                if not selected(objects, peer["podSelector"]):
                    yield f"a rule for {direction} names pods that there are none of: {peer['podSelector']}"
            listening = own if direction == "Ingress" else chosen
            yield from _ports_of_nobody(rule, listening)
            yield from _open_addresses(rule, key)


def _ports_of_nobody(rule: Mapping[str, Any], listening: Sequence[Pod]) -> Iterator[str]:
    for port in rule.get("ports") or () if listening else ():
        there = {each for pod in listening for each in (*pod.ports, *pod.ports.values())}
        if "endPort" not in port and port.get("port") not in {None, *there}:
            yield f"port {port['port']} is no port of the pods it is for"


def _open_addresses(rule: Mapping[str, Any], key: str) -> Iterator[str]:
    for peer in rule.get(key) or ():
        block = peer.get("ipBlock")
        if block and _covers(block, METADATA):
            yield f"{block['cidr']} reaches {METADATA}, where clouds tell a node's own credentials"
        if peer.get("namespaceSelector", peer) == {} and not peer.get("podSelector"):
            yield "a rule is open to all namespaces"


def _covers(block: Mapping[str, Any], address: str) -> bool:
    given = ipaddress.ip_address(address)
    return given in ipaddress.ip_network(block["cidr"]) and not any(
        given in ipaddress.ip_network(each) for each in block.get("except", ())
    )


def _is_peer(peer: Mapping[str, Any], place: Place) -> bool:
    if "ipBlock" in peer:
        return bool(place.address) and _covers(peer["ipBlock"], place.address)
    if place.labels is None or place.namespace is None:
        return False
    in_namespace = (
        matches(peer["namespaceSelector"], place.namespace)
        if "namespaceSelector" in peer
        else (place.namespace == NAMESPACE)
    )
    return in_namespace and matches(peer.get("podSelector", {}), place.labels)


def _has_port(rule: Mapping[str, Any], port: int, protocol: str, names_of: Mapping[str, int]) -> bool:
    if not rule.get("ports"):
        return True
    for each in rule["ports"]:
        first = each.get("port", 1)
        first = names_of.get(first, -1) if isinstance(first, str) else first
        last = each.get("endPort", 65535 if "port" not in each else first)
        if each.get("protocol", "TCP") == protocol and first <= port <= last:
            return True
    return False


def lets(objects: Sequence[Object], source: Place | Pod, target: Place | Pod, port: int, protocol: str = "TCP") -> bool:
    """Tell whether the policies let `source` open a connection to that port of `target`."""
    ends = (source, "Egress", "to", target), (target, "Ingress", "from", source)
    named = target.ports if isinstance(target, Pod) else {}
    for own, direction, key, other in ends:
        if not isinstance(own, Pod):
            continue
        place = Place(other.owner, other.labels, NAMESPACE) if isinstance(other, Pod) else other
        bound = [
            each["spec"]
            for each in of_kind(objects, "NetworkPolicy")
            if direction in each["spec"].get("policyTypes", ("Ingress",))
            and matches(each["spec"].get("podSelector"), own.labels)
        ]
        rules = [rule for spec in bound for rule in spec.get(direction.lower()) or ()]
        if bound and not any(
            _has_port(rule, port, protocol, named)
            and (not rule.get(key) or any(_is_peer(peer, place) for peer in rule[key]))
            for rule in rules
        ):
            return False
    return True


End = Place | Pod
Connection = tuple[End, End, int, str]


def _failing(objects: Sequence[Object], connections: Iterator[Connection], *, wanted: bool) -> Iterator[str]:
    for source, target, port, protocol in connections:
        if lets(objects, source, target, port, protocol) is not wanted:
            ends = [each.owner if isinstance(each, Pod) else each.what for each in (source, target)]
            yield f"from {ends[0]}, port {port} of {ends[1]}"


def _of(pods: Sequence[Pod], name: str) -> list[End]:
    return [pod for pod in pods if pod.labels.get("app.kubernetes.io/name") == name]


def needed(objects: Sequence[Object]) -> Iterator[Connection]:
    """Yield the connections without which something does not work."""
    pods = pods_of(objects)
    heads, nodes = [pod for pod in pods if pod.ray == "head"], [pod for pod in pods if pod.ray]
    servers = [*_of(pods, "mlflow"), *_of(pods, "mlflow-migrate")]
    yield from ((pod, DNS, 53, protocol) for pod in pods for protocol in ("UDP", "TCP"))
    yield from ((one, other, port, "TCP") for one in nodes for other in nodes for port in (6379, 10002, 40000))
    yield from ((OPERATOR, head, 8265, "TCP") for head in heads)
    yield from ((head, OUTSIDE, 443, "TCP") for head in heads)  # the API server
    yield from ((head, server, 5000, "TCP") for head in heads for server in _of(pods, "mlflow"))
    databases = _of(pods, "postgres") or [OUTSIDE]
    yield from ((pod, each, 5432, "TCP") for pod in [*heads, *servers] for each in databases)
    stores, port = (_of(pods, "seaweedfs"), 8333) if _of(pods, "seaweedfs") else ([OUTSIDE], 443)
    yield from (
        (pod, each, port, "TCP") for pod in [*nodes, *_of(pods, "mlflow"), *_of(pods, "bucket")] for each in stores
    )
    if names(objects, "Ingress"):
        yield from ((INGRESS, server, 5000, "TCP") for server in _of(pods, "mlflow"))
    if names(objects, "PodMonitor"):
        yield from ((PROMETHEUS, node, METRICS_PORT, "TCP") for node in nodes)


def forbidden(objects: Sequence[Object]) -> Iterator[Connection]:
    """Yield connections that would let someone do what is not his."""
    pods = pods_of(objects)
    workers, nodes = [pod for pod in pods if pod.ray == "worker"], [pod for pod in pods if pod.ray]
    yield from ((STRANGER, pod, port, "TCP") for pod in pods for port in {*pod.ports.values()})
    yield from ((OUTSIDE, pod, port, "TCP") for pod in pods for port in {*pod.ports.values()})
    yield from ((pod, NODE, 80, "TCP") for pod in pods)
    yield from ((one, other, METRICS_PORT, "TCP") for one in nodes for other in nodes)
    yield from ((worker, pod, 5432, "TCP") for worker in workers for pod in _of(pods, "postgres") or [OUTSIDE])
    yield from ((worker, pod, 5000, "TCP") for worker in workers for pod in _of(pods, "mlflow"))
    yield from ((pod, OUTSIDE, 80, "TCP") for pod in pods)
