"""The pods' network: a namespace with an address for each, and NetworkPolicies as rules in each namespace.

Podman enforces no NetworkPolicy. What a plug-in of Kubernetes would make of them is made here, by nftables within the
namespace of each pod; containers without capabilities cannot change it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.deploy.containers.podman import call
from tests.deploy.targets import matches

BRIDGE, SUBNET = "bpttk8s", "10.78.0"
Labels = Mapping[str, str]
Policy = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a pod is on the network, and by what policies know it."""

    name: str
    number: int
    namespace: str
    labels: Labels

    @property
    def address(self) -> str:
        """Return its address."""
        return f"{SUBNET}.{self.number}"

    @property
    def netns(self) -> str:
        """Return the name of its network namespace."""
        return f"bptt-{self.name}"

    def command(self, *command: str) -> list[str]:
        """Return the command that runs another one where this pod is, as `kubectl port-forward` reaches it."""
        return ["ip", "netns", "exec", self.netns, *command]


class PodNetwork:
    """A bridge and the places on it; none gets the address of another."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.policies = policies
        self.places: list[Place] = []
        self._next = 2

    def __enter__(self) -> PodNetwork:
        self._remove()
        call("ip", "link", "add", BRIDGE, "type", "bridge")
        call("ip", "address", "add", f"{SUBNET}.1/24", "dev", BRIDGE)
        call("ip", "link", "set", BRIDGE, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for place in list(self.places):
            self.remove(place)
        self._remove()

    def _remove(self) -> None:
        for line in call("ip", "netns", "list").splitlines():
            if line.startswith("bptt-"):  # also of a run that was killed
                call("ip", "netns", "delete", line.split()[0], check=False)
        call("ip", "link", "delete", BRIDGE, check=False)

    def add(self, name: str, labels: Labels, *, namespace: str = "bptt", process: int | None = None) -> Place:
        """Make the place of a pod, where that process already is if one is given; all policies know of it."""
        place = Place(name, self._next, namespace, labels)
        self._next += 1
        link = f"bpttk{place.number}"
        call("ip", "link", "delete", link, check=False)  # of a run that was killed
        call("ip", "netns", *(["add", place.netns] if process is None else ["attach", place.netns, str(process)]))
        call("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", place.netns)
        call("ip", "link", "set", link, "master", BRIDGE, "up")
        for arguments in (
            f"address add {place.address}/24 dev eth0",
            "link set eth0 up",
            "link set lo up",
            f"route add default via {SUBNET}.1",
        ):
            call("ip", "-n", place.netns, *arguments.split())
        self.places.append(place)
        self.enforce()
        return place

    def remove(self, place: Place) -> None:
        """Take a pod's place away."""
        self.places.remove(place)
        call("ip", "netns", "delete", place.netns, check=False)

    def enforce(self) -> None:
        """Write the policies anew into every place, as they are for the pods that are there."""
        for place in self.places:
            call(*place.command("nft", "--file", "-"), given=ruleset(place, self.places, self.policies))


def ruleset(place: Place, others: Sequence[Place], policies: Sequence[Policy]) -> str:
    """Return the policies of one pod in the words of nftables: what is established may go on, the rest is dropped."""
    lines = ["table inet policies", "delete table inet policies", "table inet policies {"]
    for direction, hook, side in (("Ingress", "input", "saddr"), ("Egress", "output", "daddr")):
        mine = [each for each in policies if applies(each, place, direction)]
        lines.append(f"chain {hook} {{ type filter hook {hook} priority 0; policy {'drop' if mine else 'accept'};")
        lines += ["ct state established,related accept", f"{'iif' if hook == 'input' else 'oif'} lo accept"]
        for policy in mine:
            for rule in policy["spec"].get(direction.lower(), []):
                peers = rule.get("from" if direction == "Ingress" else "to")
                for peer in [""] if not peers else addresses(peers, policy, others, side):
                    lines += [f"{peer} {port} accept" for port in ports(rule)]
        lines.append("}")
    return "\n".join([*lines, "}", ""])


def applies(policy: Policy, place: Place, direction: str) -> bool:
    """Tell whether a policy is about a pod, in that direction."""
    here = policy["metadata"].get("namespace", "default") == place.namespace
    return here and direction in policy["spec"]["policyTypes"] and matches(policy["spec"]["podSelector"], place.labels)


def addresses(peers: Sequence[Any], policy: Policy, others: Sequence[Place], side: str) -> Iterator[str]:
    """Yield what a packet's other side must match, for each peer of a rule."""
    for peer in peers:
        if block := peer.get("ipBlock"):
            but = ", ".join(block.get("except", []))
            yield f"ip {side} {block['cidr']}" + (f" ip {side} != {{ {but} }}" if but else "")
            continue
        for other in others:
            names = peer.get("namespaceSelector")
            of_space = {"kubernetes.io/metadata.name": other.namespace}
            near = other.namespace == policy["metadata"]["namespace"] if names is None else matches(names, of_space)
            if near and matches(peer.get("podSelector", {}), other.labels):
                yield f"ip {side} {other.address}"


def ports(rule: Mapping[str, Any]) -> Iterable[str]:
    """Return what a packet's port must match; everything matches a rule that names none."""
    named = rule.get("ports")
    if not named:
        return [""]
    found = []
    for port in named:
        last = f"-{port['endPort']}" if "endPort" in port else ""
        found.append(f"{port.get('protocol', 'TCP').lower()} dport {port['port']}{last}")
    return found
