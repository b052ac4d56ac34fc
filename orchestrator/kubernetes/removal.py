"""Removing what was installed: what there is of it, sweeps first, data last and only where told."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from orchestrator.kubernetes.credentials import needs
from orchestrator.kubernetes.install import RECORD
from orchestrator.kubernetes.kubectl import Kubectl, Object, name_of, typed
from orchestrator.kubernetes.manifests import overlay as folder_of
from orchestrator.kubernetes.render import objects, rendered
from orchestrator.kubernetes.standing import sweep_of
from orchestrator.kubernetes.values import Values

DATA = ("PersistentVolumeClaim", "Secret")
STAYS = ("Namespace", *DATA)


def doomed(kubectl: Kubectl, overlay: str, *, keep_data: bool) -> list[str]:
    """Return what is to be deleted, as `KIND/NAME`, in the order in which it has to go."""
    shipped = objects(rendered(folder_of(overlay), Values(), namespace=kubectl.namespace))
    jobs = [f"rayjob.ray.io/{name_of(each)}" for each in kubectl.find("rayjobs.ray.io") if sweep_of(each)]
    # Kustomize puts first what others need.
    parts = [f"{typed(each)}/{name_of(each)}" for each in reversed(shipped) if each["kind"] not in STAYS]
    chosen = [*jobs, *parts, f"configmap/{RECORD}"]
    if not keep_data:
        there = [name_of(each) for each in kubectl.find("persistentvolumeclaims")]
        chosen += [f"persistentvolumeclaim/{name}" for name in there if re.fullmatch(_claims(shipped), name)]
        chosen += [f"secret/{need.name}" for need in needs(shipped)]
    return chosen


def _claims(shipped: Sequence[Object]) -> str:
    """Return a pattern of the claims that the objects make, those of a StatefulSet's pods too."""
    own = [re.escape(name_of(each)) for each in shipped if each["kind"] == "PersistentVolumeClaim"]
    sets = [each for each in shipped if each["kind"] == "StatefulSet"]
    for each in sets:
        templates = each["spec"].get("volumeClaimTemplates", ())
        own += [rf"{re.escape(name_of(claim))}-{re.escape(name_of(each))}-\d+" for claim in templates]
    return "|".join(own) or "(?!)"


def remove(kubectl: Kubectl, chosen: Sequence[str], *, say: Callable[[str], None]) -> None:
    """Delete one after another; what is gone already is no mistake."""
    for each in chosen:
        said = kubectl.run("delete", each, "--ignore-not-found", "--wait=false").strip()
        if said:
            say(said)
