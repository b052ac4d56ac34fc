"""The rendered manifests, and the pods that Kubernetes and KubeRay's operator would make of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.containers.podman import ROOT, call

Object = dict[str, Any]
TOKEN_SECRET, TOKEN_KEY = "bptt", "auth_token"
AGENT_PORT = 52365


class Manifests:
    """What `kubectl kustomize` renders of an overlay."""

    def __init__(self, overlay: str) -> None:
        rendered = call("kubectl", "kustomize", str(ROOT / "k8s/overlays" / overlay))
        self.objects: list[Object] = [each for each in yaml.safe_load_all(rendered) if each]

    def of(self, kind: str) -> list[Object]:
        """Return all objects of a kind."""
        return [each for each in self.objects if each["kind"] == kind]

    def one(self, kind: str, name: str) -> Object:
        """Return the object of that kind and name."""
        [found] = [each for each in self.of(kind) if each["metadata"]["name"] == name]
        return found


def pod_of(owner: Object, name: str) -> Object:
    """Return a pod of a Deployment, StatefulSet or Job."""
    template = copy.deepcopy(owner["spec"]["template"])
    return pod(name, template["metadata"].get("labels", {}), template["spec"])


def pod(name: str, labels: Mapping[str, str], spec: Object) -> Object:
    """Return a pod."""
    metadata = {"name": name, "namespace": "bptt", "labels": dict(labels)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def ray_pod(cluster: Object, name: str, *, group: str | None = None) -> Object:
    """Return the pod that KubeRay 1.7 makes of a RayCluster's head, or of a worker of a group.

    Without the autoscaler's container and its account, since there is no API server here; `ray start`, its token and
    its variables are as the operator writes them (ray-operator/controllers/ray/common/pod.go).
    """
    spec, of = cluster["spec"], cluster["metadata"]["name"]
    chosen = spec["headGroupSpec"]
    if group is not None:
        [chosen] = [each for each in spec["workerGroupSpecs"] if each["groupName"] == group]
    template = copy.deepcopy(chosen["template"])
    container = template["spec"]["containers"][0]
    head = f"{of}-head-svc.bptt.svc.cluster.local"
    parameters = {"metrics-export-port": "8080", "dashboard-agent-listen-port": str(AGENT_PORT)}
    limits = container["resources"]["limits"]
    parameters |= {
        "num-cpus": str(limits["cpu"]),
        "memory": str(in_bytes(limits["memory"])),
        **chosen["rayStartParams"],
    }
    if group is None:
        parameters["dashboard-host"] = "0.0.0.0"
    else:
        parameters["address"] = f"{head}:6379"
    flags = " ".join(f"--{key}={value}" for key, value in parameters.items())
    start = f"ulimit -n 65536; ray start {'--head' if group is None else ''} {flags} --block"
    container |= {"command": ["/bin/bash", "-c", "--"], "args": [start]}
    container["env"] = [
        *container.get("env", []),
        {"name": "RAY_AUTH_MODE", "value": "token"},
        {"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": {"name": TOKEN_SECRET, "key": TOKEN_KEY}}},
        {"name": "RAY_CLUSTER_NAME", "value": of},
        {"name": "RAY_PORT", "value": "6379"},
        {"name": "RAY_ADDRESS", "value": "127.0.0.1:6379" if group is None else f"{head}:6379"},
        {"name": "FQ_RAY_IP", "value": head},
    ]
    labels = {
        **template.get("metadata", {}).get("labels", {}),
        "ray.io/cluster": of,
        "ray.io/group": group or "headgroup",
        "ray.io/is-ray-node": "yes",
        "ray.io/node-type": "head" if group is None else "worker",
    }
    return pod(name, labels, template["spec"])


def in_bytes(quantity: str) -> int:
    """Return an amount of memory as Kubernetes writes it in bytes."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return int(float(quantity[:-2]) * units[quantity[-2:]]) if quantity[-2:] in units else int(quantity)


def playable(made: Object, hosts: Path) -> Object:
    """Return a pod as Podman plays it: names of services by a file, and without what only a cluster gives."""
    made = copy.deepcopy(made)
    spec, name = made["spec"], made["metadata"]["name"]
    spec["restartPolicy"] = "Never"  # what ends is to be seen
    kept = [volume for volume in spec.get("volumes", []) if "projected" not in volume]
    # To Podman 4.3 an emptyDir is a volume of that name, which all pods would share.
    own = {volume["name"]: f"{name}-{volume['name']}" for volume in kept}
    # And it gives the aliases of hosts to pods on networks of its own alone.
    file = {"name": "hosts", "hostPath": {"path": str(hosts), "type": "File"}}
    spec["volumes"] = [*({**volume, "name": own[volume["name"]]} for volume in kept), file]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        container["image"] = f"localhost/{container['image']}"
        mounts = [mount for mount in container.get("volumeMounts", []) if mount["name"] in own]
        container["volumeMounts"] = [
            *({**mount, "name": own[mount["name"]]} for mount in mounts),
            {"name": "hosts", "mountPath": "/etc/hosts", "readOnly": True},
        ]
        for others in ("startupProbe", "readinessProbe", "livenessProbe", "ports"):
            container.pop(others, None)  # a kubelet's business; names of ports are the policies'
    return made


def with_settings(made: Object, config_maps: Sequence[Object]) -> list[Object]:
    """Return a pod with the ConfigMaps that it names, as `podman play kube` wants them in one file."""
    containers = [*made["spec"].get("initContainers", []), *made["spec"]["containers"]]
    named = {
        source["configMapRef"]["name"]
        for each in containers
        for source in each.get("envFrom", [])
        if "configMapRef" in source
    }
    named |= {volume["configMap"]["name"] for volume in made["spec"].get("volumes", []) if "configMap" in volume}
    return [*(each for each in config_maps if each["metadata"]["name"] in named), made]
