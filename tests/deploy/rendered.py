"""What the kustomizations of `k8s/` render to, and finding one's way in it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUSTOMIZATIONS = (
    *("overlays/local", "overlays/gpu", "overlays/production"),
    *("overlays/local/sweep", "overlays/gpu/sweep", "overlays/production/sweep", "sweep"),
)
"""All that is meant to be applied; `base` and the components are not, each for itself."""

Object = dict[str, Any]


@cache
def _rendered(name: str) -> str:
    if shutil.which("kubectl") is None:
        pytest.skip("NOT CHECKED: kubectl is not here, so nothing can be rendered; install it and put it on PATH")
    command = ["kubectl", "kustomize", str(ROOT / "k8s" / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise AssertionError(f"{name} does not render: {done.stderr.strip()}")
    return json.dumps([each for each in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if each])


def render(name: str) -> list[Object]:
    """Return the objects of a kustomization, fresh ones each time."""
    objects: list[Object] = json.loads(_rendered(name))
    return objects


def with_what_stands(name: str) -> list[Object]:
    """Return the objects of a kustomization; for a sweep's, with those of the deployment that it comes into."""
    stands = {"sweep": "overlays/gpu"}.get(name, name.removesuffix("/sweep"))
    return render(name) + (render(stands) if stands != name else [])


def title(found: Object) -> str:
    """Return an object's kind and name, as findings tell it."""
    return f"{found.get('kind')}/{found.get('metadata', {}).get('name')}"


def of_kind(objects: Sequence[Object], *kinds: str) -> Iterator[Object]:
    """Yield the objects of these kinds."""
    return (each for each in objects if each.get("kind") in kinds)


def named(objects: Sequence[Object], kind: str, name: str) -> Object:
    """Return the one object of that kind and name."""
    (found,) = (each for each in of_kind(objects, kind) if each["metadata"]["name"] == name)
    return found


def names(objects: Sequence[Object], kind: str) -> set[str]:
    """Return the names of all objects of a kind."""
    return {each["metadata"]["name"] for each in of_kind(objects, kind)}
