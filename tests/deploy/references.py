"""What pods name must be there: settings, secrets' keys, accounts and volumes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.deploy.pods import Pod, pods_of, ray_specs
from tests.deploy.rendered import Object, names, of_kind, title

SECRETS: Mapping[str, set[str]] = {
    "bptt-databases": {
        *("study_url", "mlflow_url", "mlflow_auth_url"),
        *("superuser_password", "sweeps_password", "mlflow_password", "mlflow_auth_password"),
    },
    "bptt-tracking": {"username", "password", "flask_secret"},
    "bptt-storage": {
        *("access_key_id", "secret_access_key", "endpoint", "bucket", "checkpoints_uri", "artifacts_uri"),
    },
    "mlflow-tls": {"tls.crt", "tls.key"},
}
"""Secrets that are made at install, and their keys: `bptt k8s apply` and README.md say so."""
EVERYWHERE = {"kube-root-ca.crt": {"ca.crt"}}
"""ConfigMaps that Kubernetes itself puts into every namespace."""


def loose_ends(objects: Sequence[Object]) -> list[str]:
    """Find names under which there is nothing."""
    maps = {each["metadata"]["name"]: set(each.get("data") or {}) for each in of_kind(objects, "ConfigMap")}
    sources = {"ConfigMap": {**EVERYWHERE, **maps}, "Secret": dict(SECRETS)}
    claims = names(objects, "PersistentVolumeClaim")
    accounts = names(objects, "ServiceAccount") | operators_accounts(objects)
    found = []
    for pod in pods_of(objects):
        lines = [*sources_of(pod, sources), *volumes_of(pod, claims | claims_made(objects, pod))]
        account = pod.spec.get("serviceAccountName", "default")
        if account not in accounts:
            lines.append(f"there is no ServiceAccount {account}")
        found += [f"{pod.owner}: {line}" for line in lines]
    return found


def operators_accounts(objects: Sequence[Object]) -> set[str]:
    """Return the accounts that the operator makes, for heads with an autoscaler that are given none."""
    return {
        owner["metadata"]["name"]
        for owner, spec in ray_specs(objects)
        if spec.get("enableInTreeAutoscaling")
        and not spec["headGroupSpec"]["template"]["spec"].get("serviceAccountName")
    }


def claims_made(objects: Sequence[Object], pod: Pod) -> set[str]:
    """Return the names of the volumes that a StatefulSet makes for its pod."""
    return {
        each["metadata"]["name"]
        for found in of_kind(objects, "StatefulSet")
        if title(found) == pod.owner
        for each in found["spec"].get("volumeClaimTemplates", ())
    }


Sources = Mapping[str, Mapping[str, set[str]]]


def _absent(kind: str, ref: Mapping[str, Any], sources: Sources, keys: Sequence[str] = ()) -> Iterator[str]:
    name = ref.get("name", ref.get("secretName"))
    if ref.get("optional") and name not in sources[kind]:
        return
    if name not in sources[kind]:
        yield f"there is no {kind} {name}"
    else:
        yield from (f"{kind} {name} has no key {key}" for key in keys if key not in sources[kind][name])


def sources_of(pod: Pod, sources: Sources) -> Iterator[str]:
    """Find what variables and volumes take from where nothing is."""
    for container in pod.containers:
        for each in container.get("envFrom", ()):
            for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if key in each:
                    yield from _absent(kind, each[key], sources)
        for each in container.get("env", ()):
            for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if ref := each.get("valueFrom", {}).get(key):
                    yield from _absent(kind, ref, sources, [ref["key"]])
    for volume in pod.spec.get("volumes", ()):
        for source in [volume, *volume.get("projected", {}).get("sources", ())]:
            for key, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
                if ref := source.get(key):
                    yield from _absent(kind, ref, sources, [item["key"] for item in ref.get("items", ())])


def volumes_of(pod: Pod, claims: set[str]) -> Iterator[str]:
    """Find mounts of volumes that the pod does not have, volumes that nothing mounts, and claims that are not there."""
    volumes = {each["name"]: each for each in pod.spec.get("volumes", ())}
    templates = {name for name in claims if name not in volumes and pod.owner.startswith("StatefulSet/")}
    mounted = set()
    for container in pod.containers:
        paths = [each["mountPath"] for each in container.get("volumeMounts", ())]
        yield from (
            f"container {container['name']}: two mounts at {path}" for path in set(paths) if paths.count(path) > 1
        )
        for each in container.get("volumeMounts", ()):
            mounted.add(each["name"])
            if each["name"] not in volumes and each["name"] not in templates:
                yield f"container {container['name']}: there is no volume {each['name']}"
    yield from (f"volume {name} is mounted nowhere" for name in volumes if name not in mounted)
    for name, volume in volumes.items():
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim is not None and claim not in claims:
            yield f"volume {name}: there is no PersistentVolumeClaim {claim}"
