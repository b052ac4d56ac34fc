"""Every pod that will be: those of templates, and those that KubeRay's operator derives from a RayCluster or RayJob."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.deploy.rendered import Object, title

AUTOSCALER, SUBMITTER, WAITING = "autoscaler", "ray-job-submitter", "wait-gcs-ready"
OF_NODES = {
    "ray.io/is-ray-node": "yes",
    "app.kubernetes.io/name": "kuberay",
    "app.kubernetes.io/created-by": "kuberay-operator",
}
HEAD_PORTS = {"gcs-server": 6379, "dashboard": 8265, "client": 10001}
METRICS_PORT = 8080


@dataclass(frozen=True)
class Pod:
    """A pod as it will be made."""

    owner: str
    """Kind and name of the object that it comes from, and which of its pods it is."""
    labels: Mapping[str, str]
    spec: Mapping[str, Any]
    ray: str = ""
    """`head` or `worker`, where it is a node of Ray's."""

    @property
    def containers(self) -> list[dict[str, Any]]:
        """Return its containers and those that come before."""
        return [*self.spec.get("initContainers", ()), *self.spec.get("containers", ())]

    @property
    def ports(self) -> dict[str, int]:
        """Return the ports that it names."""
        found = {
            each["name"]: each["containerPort"]
            for container in self.containers
            for each in container.get("ports", ())
            if "name" in each
        }
        return {**(HEAD_PORTS if self.ray == "head" else {}), "metrics": METRICS_PORT, **found} if self.ray else found


def pods_of(objects: Sequence[Object]) -> list[Pod]:
    """Return every pod that the objects come to; one of each kind, however many there will be."""
    return [pod for each in objects for pod in _pods_of(each)]


def ray_specs(objects: Sequence[Object]) -> Iterator[tuple[Object, Mapping[str, Any]]]:
    """Yield each RayCluster's spec, and that of each RayJob's cluster, with the object that it stands in."""
    for each in objects:
        if each.get("kind") == "RayCluster":
            yield each, each["spec"]
        elif each.get("kind") == "RayJob" and each["spec"].get("rayClusterSpec"):
            yield each, each["spec"]["rayClusterSpec"]


def _pods_of(found: Object) -> Iterator[Pod]:
    if found.get("kind") == "Pod":
        yield Pod(title(found), found["metadata"].get("labels", {}), found["spec"])
    elif found.get("kind") in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        yield _plain(title(found), found["spec"]["template"])
    elif found.get("kind") == "CronJob":
        yield _plain(title(found), found["spec"]["jobTemplate"]["spec"]["template"])
    for owner, spec in ray_specs([found]):
        yield _head(owner, spec)
        yield from (_worker(owner, group) for group in spec.get("workerGroupSpecs", ()))
        if found["kind"] == "RayJob" and found["spec"].get("submissionMode", "K8sJobMode") == "K8sJobMode":
            yield _submitter(found)


def _plain(owner: str, template: Mapping[str, Any]) -> Pod:
    return Pod(owner, template.get("metadata", {}).get("labels", {}), template["spec"])


def _labels(owner: Object, template: Mapping[str, Any], kind: str, group: str) -> dict[str, str]:
    name = owner["metadata"]["name"]
    own = {"ray.io/node-type": kind, "ray.io/group": group, "ray.io/cluster": name}
    if owner["kind"] == "RayJob":
        own |= {"ray.io/cluster": f"{name}-xxxxx", "ray.io/originated-from-cr-name": name}
    return {**OF_NODES, **template.get("metadata", {}).get("labels", {}), **own}


def _head(owner: Object, spec: Mapping[str, Any]) -> Pod:
    """The operator puts the autoscaler into it, and in SidecarMode the submitter, bare but for what is said here."""
    template = spec["headGroupSpec"]["template"]
    made = {**template["spec"], "containers": [*template["spec"]["containers"]]}
    image = made["containers"][0].get("image")
    if spec.get("enableInTreeAutoscaling"):
        options = spec.get("autoscalerOptions") or {}
        made.setdefault("serviceAccountName", owner["metadata"]["name"])
        chosen = {key: options[key] for key in ("securityContext", "volumeMounts", "env", "envFrom") if key in options}
        default = {"cpu": "500m", "memory": "512Mi"}
        resources = options.get("resources", {"requests": default, "limits": default})
        autoscaler = {"name": AUTOSCALER, "image": options.get("image", image), "resources": resources, **chosen}
        made["containers"].append(autoscaler)
    if owner["kind"] == "RayJob" and owner["spec"].get("submissionMode") == "SidecarMode":
        made["containers"].append({"name": SUBMITTER, "image": image})
    return Pod(f"{title(owner)} head", _labels(owner, template, "head", "headgroup"), made, "head")


def _worker(owner: Object, group: Mapping[str, Any]) -> Pod:
    """A container before it waits for the head, with the image, variables, mounts and restrictions of Ray's own."""
    made = dict(group["template"]["spec"])
    first = made["containers"][0]
    copied = {key: first[key] for key in ("image", "securityContext", "env", "volumeMounts") if key in first}
    little = {"cpu": "200m", "memory": "256Mi"}
    waiting = {"name": WAITING, **copied, "resources": {"requests": little, "limits": little}}
    made["initContainers"] = [*made.get("initContainers", ()), waiting]
    labels = _labels(owner, group["template"], "worker", group["groupName"])
    return Pod(f"{title(owner)} worker {group['groupName']}", labels, made, "worker")


def _submitter(owner: Object) -> Pod:
    template = owner["spec"].get("submitterPodTemplate")
    if template is None:
        image = owner["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0].get("image")
        template = {"spec": {"containers": [{"name": SUBMITTER, "image": image}]}}
    return Pod(f"{title(owner)} submitter", template.get("metadata", {}).get("labels", {}), template["spec"])
