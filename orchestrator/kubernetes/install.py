"""Installing what was rendered: what would change, in which order it comes, and waiting until it is ready."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import yaml

from orchestrator import __version__
from orchestrator.kubernetes.credentials import LABELS, Missing, make
from orchestrator.kubernetes.kubectl import Absent, ClusterError, Kubectl, Object, name_of, within
from orchestrator.kubernetes.standing import Part, parts
from orchestrator.kubernetes.values import Values

RECORD = "bptt-installed"
"""ConfigMap that says which overlay was installed, with which values."""
LAST = ("Deployment", "RayCluster")
"""Kinds whose pods use the databases, which have to be there and brought up to date before."""
LOOK_EVERY_S = 3.0

Say = Callable[[str], None]


def record(overlay: str, values: Values, namespace: str) -> Object:
    """Return the ConfigMap by which later commands know what is installed. It holds no secret."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": RECORD, "namespace": namespace, "labels": LABELS},
        "data": {"overlay": overlay, "values": yaml.safe_dump(values.plain()), "version": __version__},
    }


def installed(kubectl: Kubectl) -> tuple[str, dict[str, Any]] | None:
    """Return the overlay that was installed, and its values; None where nothing was."""
    try:
        data = kubectl.get("configmap", RECORD).get("data") or {}
    except Absent:
        return None
    return str(data.get("overlay", "")), yaml.safe_load(data.get("values", "")) or {}


def within_rights(kubectl: Kubectl, wanted: Sequence[Object]) -> list[Object]:
    """Return the objects without the namespace where it is there and this user may only use it."""
    is_ours = kubectl.may("patch", "namespace") or not kubectl.has("namespace", kubectl.namespace)
    return [each for each in wanted if each["kind"] != "Namespace" or is_ours]


def difference(kubectl: Kubectl, wanted: Sequence[Object]) -> str:
    """Return what `kubectl diff` shows, or the names of all objects where the namespace is not there yet."""
    if not kubectl.has("namespace", kubectl.namespace):
        return "".join(f"+ {each['kind']} {name_of(each)}\n" for each in wanted)
    unchangeable = {name_of(each) for each in outdated_jobs(kubectl, wanted)}
    shown = [each for each in wanted if not (each["kind"] == "Job" and name_of(each) in unchangeable)]
    found = kubectl.run("diff", "--filename=-", stdin=text_of(shown), allowed=(0, 1))
    return found + "".join(f"- Job {name}, with another image\n+ Job {name}\n" for name in sorted(unchangeable))


def text_of(wanted: Iterable[Object]) -> str:
    """Return objects as one text that kubectl reads: of JSON it knows no separators."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(wanted)})


def outdated_jobs(kubectl: Kubectl, wanted: Sequence[Object]) -> list[Object]:
    """Return the Jobs that are there and would have to run anew: a Job's pods cannot be changed."""
    found = []
    for each in wanted:
        if each["kind"] == "Job":
            try:
                there = kubectl.get("job", name_of(each))
            except Absent:
                continue
            image = ("spec", "template", "spec", "containers", 0, "image")
            if within(there, *image) != within(each, *image):
                found.append(each)
    return found


def install(kubectl: Kubectl, wanted: Sequence[Object], missing: Missing, *, timeout_s: float, say: Say) -> list[Part]:
    """Apply all of it and wait; return the parts that are still not ready after `timeout_s`."""
    end = time.monotonic() + timeout_s
    namespaces = [each for each in wanted if each["kind"] == "Namespace"]
    first = [each for each in wanted if each["kind"] not in ("Namespace", *LAST)]
    if namespaces and not kubectl.has("namespace", kubectl.namespace):
        say(f"making namespace {kubectl.namespace}")
    if namespaces:
        apply(kubectl, namespaces)
    for name, content in missing.made.items():
        say(f"made Secret {name}" if make(kubectl, name, content) else f"Secret {name} is there by now: left as it is")
    for job in outdated_jobs(kubectl, first):
        say(f"Job {name_of(job)} is to run again, with another image")
        kubectl.run("delete", "job", name_of(job), "--wait=true", "--ignore-not-found")
    say(f"applying {len(first)} objects")
    apply(kubectl, first)
    said: dict[tuple[str, str], str] = {}
    if unready := wait(kubectl, first, said, until=end, say=say):
        return unready
    last = [each for each in wanted if each["kind"] in LAST]
    say(f"applying {len(last)} more, which need them")
    apply(kubectl, last)
    return wait(kubectl, [*first, *last], said, until=end, say=say)


def apply(kubectl: Kubectl, wanted: Sequence[Object]) -> None:
    """Apply objects as they are."""
    if wanted:
        kubectl.run("apply", "--filename=-", stdin=text_of(wanted))


def wait(
    kubectl: Kubectl, wanted: Sequence[Object], said: dict[tuple[str, str], str], *, until: float, say: Say
) -> list[Part]:
    """Wait until everything among the objects that runs is ready, saying what is not `said` yet; return what is not.

    A Job that failed is not waited for.
    """
    names = {(each["kind"], name_of(each)) for each in wanted}
    while True:
        try:
            found = [each for each in parts(kubectl) if (each.kind, each.name) in names]
        except ClusterError as error:
            if time.monotonic() > until:
                raise
            say(str(error))
            found = []
        for each in found:
            line = f"{each.kind} {each.name}: {each.state}" + (f"; {each.why}" if each.why else "")
            if said.get((each.kind, each.name)) != line:
                said[each.kind, each.name] = line
                say(line)
        unready = [each for each in found if not each.ready]
        if found and (not unready or any(each.state == "failed" for each in unready)):
            return unready
        if not found and not any(kind in ("StatefulSet", "Job", *LAST) for kind, _ in names):
            return []
        if time.monotonic() > until:
            return unready
        time.sleep(LOOK_EVERY_S)
