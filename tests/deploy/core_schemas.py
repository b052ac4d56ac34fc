"""Kubernetes' own objects against the schemas of `kubernetes-validate`: types, and fields that do not exist."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.deploy.rendered import Object, title

VERSION = "1.36.0"
OTHERS = ("ray.io", "kueue.x-k8s.io", "monitoring.coreos.com", "cert-manager.io")
"""API groups of what is installed into a cluster."""
_SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{VERSION}-local-strict"


def misfits(objects: Sequence[Object]) -> list[str]:
    """Find objects of Kubernetes' own that its API would refuse or that say what it does not know."""
    return [line for each in objects for line in _misfits(json.dumps(each, sort_keys=True))]


@cache
def _misfits(text: str) -> tuple[str, ...]:
    found = json.loads(text)
    group, _, version = found.get("apiVersion", "").rpartition("/")
    if group in OTHERS:
        return ()
    schema = "-".join([found.get("kind", "").lower(), *([group.partition(".")[0]] if group else []), version])
    if not (_SCHEMAS / f"{schema}.json").is_file():
        return (f"{title(found)}: Kubernetes {VERSION} has no kind {found.get('kind')} in {found.get('apiVersion')}",)
    return tuple(sentence(found, error) for error in _validator(schema).iter_errors(found))


def sentence(found: Object, error: Any) -> str:
    """Return what is wrong in an object as a line."""
    path = ".".join(str(step) for step in error.absolute_path)
    return f"{title(found)}: {path or 'it'}: {error.message[:300]}"


@cache
def _validator(schema: str) -> Draft202012Validator:
    content = json.loads((_SCHEMAS / f"{schema}.json").read_text(encoding="utf-8"))
    return Draft202012Validator({**content, "$id": "https://kubernetes.io/api/one.json"}, registry=_definitions())


@cache
def _definitions() -> Registry[Any]:
    shared = Resource.from_contents(json.loads((_SCHEMAS / "_definitions.json").read_text(encoding="utf-8")))
    return shared @ Registry()
