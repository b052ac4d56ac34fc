"""Rendering an overlay with a user's values: a kustomization on top of it, made for the moment, by `kubectl kustomize`.

What the values change is found in what the overlay renders to: images by their names, sizes in the Ray clusters,
claims of storage, hosts of Ingresses.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import UserError
from orchestrator.kubernetes.kubectl import Object, kustomize, name_of, within
from orchestrator.kubernetes.values import Size, Values

TRAINER, GPU_TRAINER, MLFLOW = "bptt-trainer", "bptt-trainer-gpu", "bptt-mlflow"
Patch = dict[str, Any]
"""One operation of JSON Patch."""


def rendered(folder: Path, values: Values, *, namespace: str, patches: Sequence[dict[str, Any]] = ()) -> str:
    """Return the YAML of the kustomization in `folder` as the values want it.

    Raises UserError where a value has nothing there to act on, and ClusterError where kubectl cannot render.
    """
    shipped = objects(kustomize(folder))
    with tempfile.TemporaryDirectory(prefix="bptt-") as place:
        # A root must be given by a relative path, and both ends of it without links.
        root = Path(place).resolve()
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": namespace,
            "resources": [os.path.relpath(folder.resolve(), root)],
            "images": list(images(shipped, values)),
            "patches": [*value_patches(shipped, values), *patches],
        }
        (root / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
        return kustomize(root)


def objects(text: str) -> list[Object]:
    """Return the objects of a YAML text."""
    return [found for found in yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if found]


def patch_of(target: Object, operations: Sequence[Patch]) -> dict[str, Any]:
    """Return operations on one object as a kustomization has them."""
    group, _, version = str(target["apiVersion"]).rpartition("/")
    named = {"group": group, "version": version, "kind": target["kind"], "name": name_of(target)}
    return {"target": named, "patch": json.dumps(operations)}


def images(shipped: Sequence[Object], values: Values) -> Iterator[dict[str, str]]:
    """Yield what to call the images of this project that the objects use."""
    used = {reference for each in shipped for reference in _references(each)}
    for name in sorted({_path(reference) for reference in used}):
        kind = name.rpartition("/")[2]
        own = {TRAINER: values.image, GPU_TRAINER: values.gpu_image, MLFLOW: values.mlflow_image}
        if kind not in own:
            continue
        path, tag, digest = _parts(own[kind] or (f"{values.registry}/{kind}" if values.registry else name))
        tag = tag or values.tag or ""
        if digest:
            yield {"name": name, "newName": path, "digest": digest}
        elif path != name or tag:
            yield {"name": name, "newName": path, **({"newTag": tag} if tag else {})}


def _references(found: Any) -> Iterator[str]:
    if isinstance(found, dict):
        for key, value in found.items():
            if key == "image" and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(found, list):
        for value in found:
            yield from _references(value)


def _parts(reference: str) -> tuple[str, str, str]:
    """Return path, tag and digest of an image; a colon before a slash is a port's."""
    path, _, digest = reference.partition("@")
    tag = re.search(r":([^/:]+)$", path)
    return (path[: tag.start()], tag[1], digest) if tag else (path, "", digest)


def _path(reference: str) -> str:
    return _parts(reference)[0]


def value_patches(shipped: Sequence[Object], values: Values) -> list[dict[str, Any]]:
    """Return the values as patches; UserError where one finds nothing to change."""
    found = [(each, list(_operations(each, values))) for each in shipped]
    if values.hosts.mlflow and (before := host_of(shipped, "mlflow")):
        for each, operations in found:
            operations += _of_hosts(each, before, values.hosts.mlflow)
    changed = {name for _, operations in found for name, _ in operations}
    wanted = {
        **{
            f"{block}.{name}": value
            for block in ("head", "workers", "gpu_workers")
            for name, value in getattr(values, block).model_dump(exclude_none=True).items()
        },
        **{f"hosts.{name}": value for name, value in values.hosts.model_dump(exclude_none=True).items()},
        **({"storage_class": values.storage_class} if values.storage_class else {}),
    }
    for name in wanted:
        if name not in changed:
            raise UserError(f"values: {name}: this overlay has nothing that it could change; leave it out")
    return [patch_of(each, [operation for _, operation in operations]) for each, operations in found if operations]


def _operations(found: Object, values: Values) -> Iterator[tuple[str, Patch]]:
    """Yield the names of values and what each changes in an object."""
    match found["kind"]:
        case "RayCluster":
            yield from _of_ray_cluster(found["spec"], "/spec", values)
        case "RayJob":
            yield from _of_ray_cluster(found["spec"]["rayClusterSpec"], "/spec/rayClusterSpec", values)
        case "PersistentVolumeClaim" if values.storage_class:
            yield "storage_class", _put("/spec/storageClassName", values.storage_class)
        case "StatefulSet" if values.storage_class:
            for index in range(len(found["spec"].get("volumeClaimTemplates", ()))):
                path = f"/spec/volumeClaimTemplates/{index}/spec/storageClassName"
                yield "storage_class", _put(path, values.storage_class)


def _of_ray_cluster(spec: Object, at: str, values: Values) -> Iterator[tuple[str, Patch]]:
    yield from _of_pod("head", values.head, spec["headGroupSpec"], f"{at}/headGroupSpec")
    for index, group in enumerate(spec.get("workerGroupSpecs", ())):
        gpu = gpu_resource(group)
        name, wanted = ("gpu_workers", values.gpu_workers) if gpu else ("workers", values.workers)
        path = f"{at}/workerGroupSpecs/{index}"
        yield from _of_pod(name, wanted, group, path)
        for field, count in (("minReplicas", wanted.least), ("maxReplicas", wanted.most)):
            if count is not None:
                yield f"{name}.{'least' if field == 'minReplicas' else 'most'}", _put(f"{path}/{field}", count)
        least = wanted.least if wanted.least is not None else group.get("minReplicas", 0)
        most = wanted.most if wanted.most is not None else group.get("maxReplicas", least)
        if least > most:
            raise UserError(f"values: {name}: at least {least} and at most {most}; give {name}.least and {name}.most")
        if "replicas" in group:
            # A cluster that does not grow has as many as it may, of those that it has at all.
            is_fixed = not spec.get("enableInTreeAutoscaling") and group["replicas"]
            first = min(max((is_fixed and wanted.most) or group["replicas"], least), most)
            if first != group["replicas"]:
                yield f"{name}.least", _put(f"{path}/replicas", first)
        if gpu and values.gpu_workers.gpus is not None:
            for part in ("limits", "requests"):
                place = f"{path}/template/spec/containers/0/resources/{part}/{gpu.replace('/', '~1')}"
                yield "gpu_workers.gpus", _put(place, values.gpu_workers.gpus)


def _of_pod(name: str, wanted: Size, group: Object, at: str) -> Iterator[tuple[str, Patch]]:
    for field, resource in (("cpus", "cpu"), ("memory", "memory")):
        value = getattr(wanted, field)
        if value is not None:
            for part in ("limits", "requests"):
                if within(group, "template", "spec", "containers", 0, "resources", part, resource) is not None:
                    place = f"{at}/template/spec/containers/0/resources/{part}/{resource}"
                    yield f"{name}.{field}", _put(place, str(value))


def gpu_resource(group: Object) -> str | None:
    """Return by which name a group of workers asks for GPUs; None where it does not."""
    limits = within(group, "template", "spec", "containers", 0, "resources", "limits") or {}
    return next((name for name in limits if name.endswith("/gpu")), None)


def _of_hosts(found: Object, before: str, new: str) -> Iterator[tuple[str, Patch]]:
    """Put one host in another's place: where an Ingress answers to it, and where a server is told to."""
    if found["kind"] == "Ingress":
        for index, rule in enumerate(found["spec"].get("rules", ())):
            if rule.get("host") == before:
                yield "hosts.mlflow", _put(f"/spec/rules/{index}/host", new)
        for index, tls in enumerate(found["spec"].get("tls", ())):
            for number, host in enumerate(tls.get("hosts", ())):
                if host == before:
                    path = f"/spec/tls/{index}/hosts/{number}"
                    yield "hosts.mlflow", {"op": "replace", "path": path, "value": new}
    if found["kind"] == "ConfigMap":
        for key, text in (found.get("data") or {}).items():
            changed = re.sub(rf"(?<![\w.-]){re.escape(before)}(?![\w.-])", new, text)
            if changed != text:
                yield "hosts.mlflow", _put(f"/data/{key.replace('~', '~0').replace('/', '~1')}", changed)


def host_of(shipped: Sequence[Object], service: str) -> str:
    """Return the host under which an Ingress shows a service; empty where none does."""
    for each in shipped:
        for rule in each["spec"].get("rules", ()) if each["kind"] == "Ingress" else ():
            if within(rule, "http", "paths", 0, "backend", "service", "name") == service:
                return str(rule.get("host", ""))
    return ""


def _put(path: str, value: Any) -> Patch:
    # Of an object, `add` replaces what is there.
    return {"op": "add", "path": path, "value": value}
