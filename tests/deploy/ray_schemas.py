"""KubeRay's objects against the schemas of its CRDs, which do not come with this project."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from tests.deploy.core_schemas import sentence
from tests.deploy.rendered import ROOT, Object, title

FILES = {"RayCluster": "ray.io_rayclusters.yaml", "RayJob": "ray.io_rayjobs.yaml"}
WHERE = "BPTT_KUBERAY_CRDS"


def folder() -> Path:
    """Return where the CRDs of KubeRay's release lie, `helm-chart/kuberay-operator/crds` of its repository."""
    return Path(os.environ.get(WHERE, ROOT.parent / "shared" / "kuberay-crds"))


def are_here() -> bool:
    """Tell whether the schemas are on this machine."""
    return all((folder() / name).is_file() for name in FILES.values())


def misfits(objects: Sequence[Object]) -> list[str]:
    """Find objects of KubeRay's that its CRDs refuse, or whose fields they would drop without a word."""
    ray = [each for each in objects if each.get("apiVersion", "").startswith("ray.io/")]
    return [line for each in ray for line in _misfits(json.dumps(each, sort_keys=True))]


@cache
def _misfits(text: str) -> tuple[str, ...]:
    found = json.loads(text)
    if found["kind"] not in FILES or found["apiVersion"] != "ray.io/v1":
        return (f"{title(found)}: not known here: {found['apiVersion']} {found['kind']}",)
    return tuple(sentence(found, error) for error in _validator(found["kind"]).iter_errors(found))


@cache
def _validator(kind: str) -> Draft202012Validator:
    definition = yaml.load((folder() / FILES[kind]).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    (version,) = (each for each in definition["spec"]["versions"] if each["name"] == "v1")
    schema = as_json_schema(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}  # the API server's own
    return Draft202012Validator(schema)


def as_json_schema(node: Any) -> Any:
    """Return the OpenAPI schema of a CRD as JSON Schema that refuses what it does not know.

    Defaults are filled in before an API server validates, so that fields with one are not required.
    """
    if isinstance(node, list):
        return [as_json_schema(each) for each in node]
    if not isinstance(node, dict):
        return node
    made = {key: as_json_schema(value) for key, value in node.items() if not key.startswith("x-kubernetes-")}
    properties = node.get("properties")
    if isinstance(properties, dict) and node.get("type") == "object":
        if "additionalProperties" not in node and not node.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
        has_default = {name for name, each in properties.items() if "default" in each}
        made["required"] = [name for name in node.get("required", ()) if name not in has_default]
    if node.get("x-kubernetes-int-or-string") is True:
        made = {"anyOf": [{"type": "integer"}, {"type": "string"}], **{k: v for k, v in made.items() if k != "type"}}
    if node.get("nullable") is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made
