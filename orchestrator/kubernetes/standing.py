"""What of an installation is there, whether it is ready, and why not: from the objects, their pods and the events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.kubernetes.kubectl import Kubectl, Object, name_of, within

KINDS = ("StatefulSet", "Job", "Deployment", "RayCluster")
"""Those that run something, in the order in which they come up."""
SWEEP = "bptt/sweep"
"""Annotation with a sweep's name on whatever was made for it, and label with what that is called here."""
OF_RAY_JOB = "ray.io/originated-from-cr-name"
"""Label that KubeRay puts on the cluster and the pods that it makes for a RayJob."""
ENDED = ("Complete", "Failed", "ValidationFailed")
"""States of a RayJob after which the operator does nothing more with it."""
REFUSED = (
    "its driver refused the sweep, or somebody stopped the job; `bptt k8s logs {sweep}` says why for as long as its "
    "cluster stands"
)


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that runs."""

    kind: str
    name: str
    ready: bool
    state: str
    why: str = ""
    """Why it is not ready, as far as the cluster says."""


@dataclass(frozen=True, slots=True)
class SweepJob:
    """A RayJob for a sweep."""

    sweep: str
    name: str
    state: str
    """`waiting`, `running`, `suspended`; `ended` (how, says the database), `failed`, `stopped` (its driver refused the
    sweep, or somebody stopped the job); `lost`: its cluster is gone."""
    cluster: str
    why: str = ""
    created: str = ""

    @property
    def is_live(self) -> bool:
        """Tell whether it drives the sweep, or will."""
        return self.state in ("waiting", "running", "suspended")


def parts(kubectl: Kubectl) -> list[Part]:
    """Return what is installed, one by one."""
    found = [each for kind in KINDS for each in kubectl.find(f"{kind.lower()}s")]
    # A sweep's own cluster, and the pod that submits its job, are shown with the sweep.
    found = [each for each in found if not within(each, "metadata", "labels", OF_RAY_JOB)]
    unready = [each for each in found if not _ready(each)]
    pods = kubectl.find("pods") if unready else []
    events = warnings(kubectl) if unready else []
    return [
        Part(
            each["kind"],
            name_of(each),
            _ready(each),
            _state(each),
            "" if _ready(each) else _why(each, _pods_of(each, pods), events),
        )
        for each in found
    ]


def sweeps(kubectl: Kubectl) -> list[SweepJob]:
    """Return the sweeps' RayJobs, the oldest first."""
    jobs = [each for each in kubectl.find("rayjobs.ray.io") if sweep_of(each)]
    if not jobs:
        return []
    clusters = {name_of(each) for each in kubectl.find("rayclusters.ray.io")}
    found = [_sweep_job(each, clusters) for each in jobs]
    if any(each.state == "waiting" for each in found):
        pods, events = kubectl.find("pods"), warnings(kubectl)
        for index, (each, job) in enumerate(zip(found, jobs, strict=True)):
            if each.state == "waiting":
                mine = [pod for pod in pods if within(pod, "metadata", "labels", OF_RAY_JOB) == each.name]
                why = each.why or _why(job, mine, events)
                found[index] = SweepJob(each.sweep, each.name, each.state, each.cluster, why, each.created)
    return sorted(found, key=lambda each: (each.created, each.name))


def sweep_of(found: Object) -> str:
    """Return the name of the sweep that an object was made for; empty where for none."""
    return str(within(found, "metadata", "annotations", SWEEP) or "")


def _sweep_job(job: Object, clusters: set[str]) -> SweepJob:
    status: Any = job.get("status") or {}
    deployed, ray = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
    cluster = status.get("rayClusterName", "")
    why = " ".join(str(status.get("message", "")).split())[:300]
    if deployed in ENDED:
        state = {"SUCCEEDED": "ended", "STOPPED": "stopped"}.get(ray, "failed")
        why = {
            "ended": "",
            "stopped": REFUSED.format(sweep=sweep_of(job)),
            "failed": why or str(status.get("reason", "")),
        }[state]
    elif deployed in ("Suspended", "Suspending"):
        state = "suspended"
    elif deployed == "Running" and cluster not in clusters:
        state, why = "lost", f"its cluster {cluster} is gone; `bptt k8s submit {sweep_of(job)}` goes on"
    else:
        state = "running" if ray == "RUNNING" else "waiting"
    return SweepJob(sweep_of(job), name_of(job), state, cluster, why, job["metadata"].get("creationTimestamp", ""))


def _ready(found: Object) -> bool:
    spec, status = found.get("spec") or {}, found.get("status") or {}
    match found["kind"]:
        case "Deployment" | "StatefulSet":
            wanted = spec.get("replicas", 1)
            return (
                status.get("observedGeneration", 0) >= within(found, "metadata", "generation") if wanted else True
            ) and status.get("updatedReplicas", 0) >= wanted <= status.get("readyReplicas", 0)
        case "Job":
            return _condition(found, "Complete") == "True"
        case _:
            conditions = {each.get("type") for each in status.get("conditions", ())}
            if "HeadPodReady" in conditions:
                return _condition(found, "HeadPodReady") == "True" and _workers(found)[0] >= _workers(found)[1]
            return bool(status.get("state") == "ready")


def _condition(found: Object, kind: str) -> str:
    conditions: Any = within(found, "status", "conditions") or ()
    return next((str(each.get("status")) for each in conditions if each.get("type") == kind), "")


def _workers(found: Object) -> tuple[int, int]:
    """Return how many workers of a RayCluster are ready, and how many it must have."""
    status: Any = found.get("status") or {}
    return status.get("readyWorkerReplicas", 0), status.get("minWorkerReplicas", 0)


def _state(found: Object) -> str:
    status: Any = found.get("status") or {}
    match found["kind"]:
        case "Deployment" | "StatefulSet":
            return f"{status.get('readyReplicas', 0)}/{within(found, 'spec', 'replicas') or 0} ready"
        case "Job":
            if _condition(found, "Complete") == "True":
                return "complete"
            return "failed" if _condition(found, "Failed") == "True" else "running"
        case _:
            ready, least = _workers(found)
            head = "ready" if _ready(found) or _condition(found, "HeadPodReady") == "True" else "not ready"
            return f"head {head}, {ready} workers of at least {least}"


def _pods_of(found: Object, pods: Iterable[Object]) -> list[Object]:
    if found["kind"] == "RayCluster":
        labels: Any = {"ray.io/cluster": name_of(found)}
    elif found["kind"] == "Job":
        labels = {"batch.kubernetes.io/job-name": name_of(found)}
    else:
        labels = within(found, "spec", "selector", "matchLabels") or {}
    return [pod for pod in pods if labels.items() <= (within(pod, "metadata", "labels") or {}).items()]


def _why(found: Object, pods: Sequence[Object], events: Sequence[Object]) -> str:
    """Return in a line why something is not ready: what keeps a container from running, else the last warning."""
    for pod in pods:
        if why := _of_containers(pod):
            return f"{name_of(pod)}: {why}"
    names = {name_of(found), *map(name_of, pods)}
    about = [event for event in events if within(event, "involvedObject", "name") in names]
    if about:
        last = about[-1]
        message = " ".join(str(last.get("message")).split())[:300]
        return f"{within(last, 'involvedObject', 'name')}: {last.get('reason')}: {message}"
    return f"{name_of(pods[0])} is {within(pods[0], 'status', 'phase')}" if pods else "it has no pods yet"


def _of_containers(pod: Object) -> str:
    status: Any = pod.get("status") or {}
    for each in [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]:
        waiting, before = within(each, "state", "waiting") or {}, within(each, "lastState", "terminated") or {}
        if waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            ended = f" (it ended with {before['exitCode']}: {before.get('reason')})" if before else ""
            message = " ".join(str(waiting.get("message", "")).split())[:300]
            return f"{each['name']}: {waiting['reason']}{ended}" + (f": {message}" if message else "")
    return ""


def warnings(kubectl: Kubectl) -> list[Object]:
    """Return the warnings of the namespace, the latest last."""
    found = kubectl.find("events", "--field-selector=type=Warning")
    return sorted(found, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
