"""A sweep as a RayJob: named, filled with what travels, created once however often it is asked for.

A RayJob of a number is made but once. `create` fails for whoever comes second, who then finds the first one's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import BpttError, SpecChanged, UserError
from orchestrator.jobs.parcel import Submission, pack
from orchestrator.jobs.submission import MOST_TRIES, ON_KUBERNETES, digest, job_name
from orchestrator.kubernetes.credentials import LABELS
from orchestrator.kubernetes.kubectl import Absent, Exists, Kubectl, Object, name_of, within
from orchestrator.kubernetes.sizes import Room
from orchestrator.kubernetes.standing import SWEEP, SweepJob, sweeps
from orchestrator.spec import SweepSpec, trials_allowed

LONGEST_NAME = 47
"""Of a RayJob: KubeRay makes other names of it."""
MOST_BYTES = 900_000
"""Of a ConfigMap, which may have 1 MiB in all."""
SPEC = "bptt/spec"
"""Annotation with the digest of what the sweep says."""
FOLDER, VOLUME = "/etc/bptt/sweep", "sweep"
TOO_LARGE = (
    "{size:,.0f} kB would have to travel with the sweep, most of it {largest}, and a ConfigMap holds {most:,.0f}; "
    "build an image FROM bptt-trainer that holds it and give it by --set image=..., or put it on BPTT_DATA's volume"
)


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a sweep that was to be sent."""

    job: str
    is_new: bool
    why: str = ""


def base_name(sweep: str) -> str:
    """Return what RayJobs of a sweep are called before their number: letters, digits and dashes, never two the same."""
    plain = re.sub(r"[^a-z0-9]+", "-", sweep.lower()).strip("-")
    room = LONGEST_NAME - len("sweep--999")
    if plain == sweep and len(plain) <= room:
        return f"sweep-{plain}"
    mark = hashlib.sha256(sweep.encode()).hexdigest()[:6]
    return f"sweep-{plain[: room - 7].strip('-')}-{mark}" if plain else f"sweep-{mark}"


def number_of(name: str, sweep: str) -> int:
    """Return the number in a RayJob's name; 0 where it is none of this sweep's."""
    found = re.fullmatch(rf"{re.escape(base_name(sweep))}-(\d+)", name)
    return int(found[1]) if found else 0


def submit(kubectl: Kubectl, spec: SweepSpec, *, template: Object, files: Mapping[str, bytes]) -> Sent:
    """Create a RayJob for a sweep unless one drives it already.

    Raises SpecChanged where that one has another spec.
    """
    for _ in range(MOST_TRIES):
        known = [each for each in sweeps(kubectl) if each.sweep == spec.name]
        live = next((each for each in known if each.is_live), None)
        if live is not None:
            refuse_changes(kubectl, live, spec)
            return Sent(live.name, False, f"its RayJob is {live.state} already")
        for each in known:
            if each.state == "lost":
                # The operator may give it another cluster at any time, and its driver would find the sweep taken.
                kubectl.run("delete", "rayjob", each.name, "--ignore-not-found", "--wait=false")
        number = max([0, *(number_of(each.name, spec.name) for each in known)]) + 1
        job, parcel = filled(template, spec, number=number, files=files, namespace=kubectl.namespace)
        try:
            kubectl.create(job)
        except Exists:
            continue  # another terminal was first; its RayJob is seen at the next look
        hand_over(kubectl, job, parcel)
        return Sent(name_of(job), True)
    raise BpttError(f"{spec.name}: others submit it at the same time; see `bptt k8s status`")


def hand_over(kubectl: Kubectl, job: Object, parcel: dict[str, Any]) -> None:
    """Create what the RayJob's head waits for, to be gone with it; without it the RayJob goes too."""
    try:
        made = kubectl.get("rayjob", name_of(job))
        owner = {"apiVersion": job["apiVersion"], "kind": "RayJob", "name": name_of(job)}
        parcel["metadata"]["ownerReferences"] = [{**owner, "uid": made["metadata"]["uid"]}]
        try:
            kubectl.create(parcel)
        except Exists:  # of a RayJob that was deleted a moment ago
            kubectl.run("replace", "--filename=-", stdin=json.dumps(parcel))
    except BpttError:
        kubectl.run("delete", "rayjob", name_of(job), "--ignore-not-found", "--wait=false")
        raise


def refuse_changes(kubectl: Kubectl, live: SweepJob, spec: SweepSpec) -> None:
    """Raise SpecChanged where a RayJob drives a sweep of the same name that says something else."""
    try:
        before = within(kubectl.get("rayjob", live.name), "metadata", "annotations", SPEC)
    except Absent:
        return
    if before not in (None, digest(spec)):
        raise SpecChanged(
            f"{spec.name} is being run by RayJob {live.name} with another spec; give this one another name, or stop "
            f"that one with `bptt stop {spec.name}`"
        )


def filled(
    template: Object, spec: SweepSpec, *, number: int, files: Mapping[str, bytes], namespace: str
) -> tuple[Object, dict[str, Any]]:
    """Return the RayJob and the ConfigMap of a sweep."""
    name = f"{base_name(spec.name)}-{number}"
    metadata = {
        "name": name,
        "namespace": namespace,
        "labels": {**(template["metadata"].get("labels") or {}), **LABELS, SWEEP: base_name(spec.name)},
        "annotations": {SWEEP: spec.name, SPEC: digest(spec)},
    }
    job: Any = deepcopy(dict(template))
    job["metadata"] = metadata
    # By this name `bptt logs` finds it on its cluster.
    job_id, address = job_name(spec.name, number), f"{ON_KUBERNETES}{namespace}/{name}"
    cluster = job["spec"]["rayClusterSpec"]
    job["spec"] |= {
        "jobId": job_id,
        "metadata": {"sweep": spec.name, "spec": digest(spec)},
        "runtimeEnvYAML": yaml.safe_dump({"env_vars": {"BPTT_JOB": job_id, "BPTT_JOBS_ADDRESS": address}}),
    }
    keys = {path: f"file-{index}" for index, path in enumerate(sorted(files))}
    source = {"name": name, "items": [{"key": key, "path": path} for path, key in keys.items()]}
    mount(cluster["headGroupSpec"]["template"]["spec"], source)
    for group in cluster.get("workerGroupSpecs", ()):
        mount(group["template"]["spec"], {**source, "optional": True})  # for modules of the user's own
    parcel: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": dict(metadata), "immutable": True}
    return job, {**parcel, **contents({key: files[path] for path, key in keys.items()})}


def contents(files: Mapping[str, bytes]) -> dict[str, dict[str, str]]:
    """Return files as a ConfigMap has them: texts to be read by people, and all else."""
    found: dict[str, dict[str, str]] = {"data": {}, "binaryData": {}}
    for key, content in files.items():
        try:
            found["data"][key] = content.decode()
        except UnicodeDecodeError:
            found["binaryData"][key] = base64.b64encode(content).decode()
    return found


def mount(pod: dict[str, Any], source: Mapping[str, Any]) -> None:
    """Let the first container of a pod see the sweep's files, in place of what the template shows there."""
    container = pod["containers"][0]
    volumes = [each for each in pod.get("volumes", ()) if each["name"] != VOLUME]
    mounts = [each for each in container.get("volumeMounts", ()) if each["name"] != VOLUME]
    pod["volumes"] = [*volumes, {"name": VOLUME, "configMap": dict(source)}]
    container["volumeMounts"] = [*mounts, {"name": VOLUME, "mountPath": FOLDER, "readOnly": True}]


def parcel_of(spec: SweepSpec, submission: Submission, here: Path) -> dict[str, bytes]:
    """Return the files that travel with a sweep, without this project, which the image has; UserError if too large."""
    with tempfile.TemporaryDirectory(prefix="bptt-") as place:
        folder = Path(place)
        pack(spec, submission, folder, here=here, with_project=False)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        sizes = {str(path.relative_to(folder)): path.stat().st_size for path in paths}
        size = sum(sizes.values())
        if size > MOST_BYTES:
            largest = max(sizes, key=sizes.__getitem__)
            raise UserError(f"workload: {TOO_LARGE.format(size=size / 1e3, largest=largest, most=MOST_BYTES / 1e3)}")
        return {name: (folder / name).read_bytes() for name in sizes}


def files_of(kubectl: Kubectl, sweep: str) -> dict[str, bytes]:
    """Return what travelled with a sweep's last RayJob; nothing where it has none any more."""
    known = [each for each in sweeps(kubectl) if each.sweep == sweep]
    if not known:
        return {}
    last = max(known, key=lambda each: number_of(each.name, sweep)).name
    try:
        found = kubectl.get("configmap", last)
        pod = kubectl.get("rayjob", last)["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    except Absent:
        return {}
    volume = next(each for each in pod["volumes"] if each["name"] == VOLUME)
    content = {key: text.encode() for key, text in (found.get("data") or {}).items()}
    content |= {key: base64.b64decode(text) for key, text in (found.get("binaryData") or {}).items()}
    return {item["path"]: content[item["key"]] for item in volume["configMap"]["items"]}


def most_trials(spec: SweepSpec, template: Object) -> int:
    """Return how many trials the RayJob's cluster can train at once when it has grown as far as it may.

    A cluster that starts without workers has to be asked for them. UserError where none could take a trial.
    """
    cluster = template["spec"]["rayClusterSpec"]
    groups: Sequence[Any] = cluster.get("workerGroupSpecs") or ()
    count = "maxReplicas" if cluster.get("enableInTreeAutoscaling") else "replicas"
    offers = [(_offer(each), int(each.get(count, 0))) for each in groups]
    wanted = {"cpus": spec.resources.cpus, "gpus": spec.resources.gpus, "memory_gb": spec.resources.memory_gb or 0.0}
    if not wanted["gpus"] and any(not offer["gpus"] for offer, _ in offers):
        offers = [(offer, most) for offer, most in offers if not offer["gpus"]]  # Ray grows by these first
    fit = sum(
        most * min(int(offer[name] / asked + 1e-9) for name, asked in wanted.items() if asked) for offer, most in offers
    )
    if fit:
        return min(fit, trials_allowed(spec))
    if any(all(offer[name] >= asked for name, asked in wanted.items()) for offer, _ in offers):
        raise UserError(
            "resources: of the workers that could take a trial this cluster has none, and it does not grow by itself; "
            "give some by --set workers.least=N, or gpu_workers.least=N"
        )
    asked = ", ".join(f"{name} {amount:g}" for name, amount in wanted.items() if amount)
    there = "; ".join(", ".join(f"{name} {value:.3g}" for name, value in offer.items() if value) for offer, _ in offers)
    raise UserError(
        f"resources: a trial asks for {asked}, and a worker here has {there or 'nothing'}; ask for less, or give "
        "larger ones by --set workers.cpus=N, gpu_workers.gpus=N"
    )


def _offer(group: Object) -> dict[str, float]:
    limits: Mapping[str, Any] = within(group, "template", "spec", "containers", 0, "resources", "limits") or {}
    room = Room.of(limits)
    return {"cpus": room.cpus, "gpus": room.gpus, "memory_gb": room.memory / 1e9}
