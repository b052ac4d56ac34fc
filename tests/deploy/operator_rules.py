"""What KubeRay's operator (1.7), its CRDs' own rules and Kueue refuse, and no schema says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from packaging.version import InvalidVersion, Version

from tests.deploy.pods import ray_specs
from tests.deploy.rendered import Object, of_kind, title

LONGEST = {"RayCluster": 53, "RayJob": 47}
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
TOKENS_SINCE = Version("2.52.0")
REDIS = ("RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME")
GATED = ("networkPolicy", "tlsOptions")
QUEUE = "kueue.x-k8s.io/queue-name"
MANAGERS = ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")
MODES = ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")


def refusals(objects: Sequence[Object]) -> list[str]:
    """Find what would be taken by the API server and then refused by the operator, or by Kueue."""
    found = []
    for owner in of_kind(objects, "RayCluster", "RayJob"):
        found += [f"{title(owner)}: {line}" for line in names(owner)]
    for job in of_kind(objects, "RayJob"):
        for rule in (deleting, suspending, submitting, retrying, selecting, limits_of_time):
            found += [f"{title(job)}: {line}" for line in rule(job["spec"])]
    for owner, spec in ray_specs(objects):
        for check in (groups, autoscaling, token, redis, gates, managed):
            found += [f"{title(owner)}: {line}" for line in check(spec)]
        found += [f"{title(owner)}: {line}" for line in queued(owner, spec)]
    return found


def names(owner: Object) -> Iterator[str]:
    """Names become those of services and pods."""
    name, longest = owner["metadata"]["name"], LONGEST[owner["kind"]]
    if len(name) > longest or not DNS_LABEL.fullmatch(name):
        yield f"its name must be a DNS label (a letter, then letters, digits and -) of at most {longest} characters"


def deleting(spec: Mapping[str, Any]) -> Iterator[str]:
    """How a cluster goes once its job has ended is said in one way."""
    strategy, shuts_down = spec.get("deletionStrategy"), spec.get("shutdownAfterJobFinishes")
    if spec.get("ttlSecondsAfterFinished", 0) < 0:
        yield "ttlSecondsAfterFinished must not be negative"
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and not shuts_down:
        yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
    if strategy is None:
        return
    rules, by_outcome = strategy.get("deletionRules"), [key in strategy for key in ("onSuccess", "onFailure")]
    if rules and any(by_outcome):
        yield "deletionStrategy: deletionRules excludes onSuccess and onFailure"
    if not rules and not all(by_outcome):
        yield "deletionStrategy needs onSuccess and onFailure, or deletionRules"
    if rules and shuts_down:
        yield "deletionRules excludes shutdownAfterJobFinishes"
    for rule in rules or ():
        if sum(key in rule.get("condition", {}) for key in ("jobStatus", "jobDeploymentStatus")) != 1:
            yield "deletionRules: a condition has either jobStatus or jobDeploymentStatus"
    policies = [*(rules or ()), *(strategy[key] for key in ("onSuccess", "onFailure") if key in strategy)]
    grows = (spec.get("rayClusterSpec") or {}).get("enableInTreeAutoscaling")
    if grows and any(each.get("policy") == "DeleteWorkers" for each in policies):
        yield "DeleteWorkers does not go with autoscaling"


def suspending(spec: Mapping[str, Any]) -> Iterator[str]:
    """A job that waits has a cluster of its own, to be made and taken away."""
    if spec.get("suspend") and not spec.get("shutdownAfterJobFinishes"):
        yield "suspend needs shutdownAfterJobFinishes"
    if spec.get("suspend") and spec.get("clusterSelector"):
        yield "suspend does not go with clusterSelector"


def submitting(spec: Mapping[str, Any]) -> Iterator[str]:
    """A sidecar is made by the operator alone."""
    mode = spec.get("submissionMode", "K8sJobMode")
    if mode not in MODES:
        yield f"submissionMode is one of {', '.join(MODES)}"
    if mode == "SidecarMode":
        for key in ("submitterPodTemplate", "submitterConfig", "clusterSelector"):
            if spec.get(key):
                yield f"SidecarMode does not go with {key}"
    if mode != "InteractiveMode" and not spec.get("entrypoint"):
        yield "entrypoint is missing"


def retrying(spec: Mapping[str, Any]) -> Iterator[str]:
    """Each retry has a new cluster."""
    retries = spec.get("backoffLimit", 0)
    if retries < 0:
        yield "backoffLimit must not be negative"
    if retries > 0 and spec.get("clusterSelector"):
        yield "backoffLimit does not go with clusterSelector"
    if retries > 0 and spec.get("submissionMode") == "InteractiveMode":
        yield "backoffLimit does not go with InteractiveMode"


def selecting(spec: Mapping[str, Any]) -> Iterator[str]:
    """A job runs on a cluster that there is, or on one of its own."""
    if bool(spec.get("clusterSelector")) == bool(spec.get("rayClusterSpec")):
        yield "either rayClusterSpec or clusterSelector"


def limits_of_time(spec: Mapping[str, Any]) -> Iterator[str]:
    """Limits of time are seconds, where there are any."""
    for key in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if key in spec and spec[key] <= 0:
            yield f"{key} must be positive"


def _groups(spec: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    head = [("head", spec["headGroupSpec"])]
    return head + [(each.get("groupName", "?"), each) for each in spec.get("workerGroupSpecs", ())]


def groups(spec: Mapping[str, Any]) -> Iterator[str]:
    """What nodes are, is said in one place, and groups have names of their own."""
    named = [name for name, _ in _groups(spec)]
    if len(set(named)) != len(named):
        yield "two groups have one name"
    for name, group in _groups(spec):
        params = group.get("rayStartParams") or {}
        if "labels" in params:
            yield f"group {name}: rayStartParams.labels; labels are a field of the group"
        if group.get("resources") and set(params) & {"num-cpus", "num-gpus", "memory", "resources"}:
            yield f"group {name}: resources stand in rayStartParams and in resources"
        if not group["template"]["spec"].get("containers"):
            yield f"group {name}: no container"
        least, most = group.get("minReplicas", 0), group.get("maxReplicas", 0)
        if name != "head" and not least <= group.get("replicas", least) <= most:
            yield f"group {name}: minReplicas {least}, replicas {group.get('replicas')}, maxReplicas {most} do not rise"


def autoscaling(spec: Mapping[str, Any]) -> Iterator[str]:
    """The autoscaler's second version makes pods anew, rather than containers."""
    first = spec["headGroupSpec"]["template"]["spec"].get("containers", [{}])[0]
    by_variable = [each for each in first.get("env", ()) if each["name"] == "RAY_enable_autoscaler_v2"]
    version = (spec.get("autoscalerOptions") or {}).get("version")
    if not spec.get("enableInTreeAutoscaling"):
        if by_variable:
            yield "RAY_enable_autoscaler_v2 needs enableInTreeAutoscaling"
        return
    if by_variable and version:
        yield "the autoscaler's version stands in autoscalerOptions and in RAY_enable_autoscaler_v2"
    for name, group in _groups(spec):
        if group.get("suspend"):
            yield f"group {name}: suspend does not go with autoscaling"
        if (version == "v2" or by_variable) and group["template"]["spec"].get("restartPolicy", "Never") != "Never":
            yield f"group {name}: restartPolicy must be Never with the autoscaler's version v2"


def token(spec: Mapping[str, Any]) -> Iterator[str]:
    """Without authOptions everyone who reaches a head runs code there."""
    if (spec.get("authOptions") or {}).get("mode") != "token":
        yield "authOptions.mode is not token: whoever reaches the head runs code there"
        return
    try:
        if Version(spec.get("rayVersion", "")) < TOKENS_SINCE:
            yield f"rayVersion {spec['rayVersion']}: tokens need {TOKENS_SINCE}"
    except InvalidVersion:
        yield f"rayVersion {spec.get('rayVersion')!r}: it must be written out for authOptions"


def redis(spec: Mapping[str, Any]) -> Iterator[str]:
    """Where GCS keeps what it knows is said in gcsFaultToleranceOptions alone."""
    head = spec["headGroupSpec"]
    variables = {each["name"] for each in head["template"]["spec"].get("containers", [{}])[0].get("env", ())}
    params = {key for key in (head.get("rayStartParams") or {}) if key.startswith("redis-")}
    if wrong := sorted((variables & set(REDIS)) | params):
        yield f"{', '.join(wrong)}: belongs in gcsFaultToleranceOptions"


def gates(spec: Mapping[str, Any]) -> Iterator[str]:
    """Alpha features are off where nobody switched them on."""
    for key in GATED:
        if spec.get(key):
            yield f"{key} needs an alpha feature gate of the operator"
    if (spec.get("gcsFaultToleranceOptions") or {}).get("backend") == "rocksdb":
        yield "gcsFaultToleranceOptions.backend rocksdb needs an alpha feature gate of the operator"


def managed(spec: Mapping[str, Any]) -> Iterator[str]:
    """A rule of the CRD's."""
    if spec.get("managedBy", MANAGERS[0]) not in MANAGERS:
        yield f"managedBy is one of {', '.join(MANAGERS)}"


def queued(owner: Object, spec: Mapping[str, Any]) -> Iterator[str]:
    """Kueue admits what is asked for at first, and wants it back."""
    if QUEUE not in owner["metadata"].get("labels", {}):
        return
    if spec.get("enableInTreeAutoscaling"):
        yield "Kueue admits no cluster that autoscales"
    if len(spec.get("workerGroupSpecs", ())) > 7:
        yield "Kueue admits at most seven groups of workers"
    if any(name == "head" for name, _ in _groups(spec)[1:]):
        yield "Kueue wants no group of workers named head"
    if owner["kind"] == "RayJob" and not owner["spec"].get("shutdownAfterJobFinishes"):
        yield "Kueue wants shutdownAfterJobFinishes"
