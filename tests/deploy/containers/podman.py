"""Podman and Buildah on this machine, without a registry: what they lack, how they are called, and images."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
NEEDED = {
    "buildah": "buildah",
    "ip": "iproute2",
    "kubectl": "kubectl",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "podman": "podman",
    "runc": "runc",
}
"""Programs, and Debian's packages that have them."""
IMAGES = ROOT / "deploy/images"
BASE = "localhost/python-base:bookworm"
CERTIFICATES = "/etc/ssl/certs"
# Limits that a machine which is itself a container may set, and a cgroup of its own rather than systemd's.
SETTINGS = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""


def why_not() -> str:
    """Return what this machine lacks for containers; empty where nothing is missing."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "containers with namespaces of their own need Linux and root"
    missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    return f"{', '.join(missing)} missing (packages of Debian; kubectl: of Kubernetes)" if missing else ""


def environment() -> dict[str, str]:
    """Return the variables under which both programs find the settings above."""
    path = Path(tempfile.gettempdir()) / "bptt-containers.conf"
    path.write_text(SETTINGS)
    return {**os.environ, "CONTAINERS_CONF": str(path), "BUILDAH_ISOLATION": "chroot"}


def call(*command: str, given: str | None = None, check: bool = True, timeout_s: float = 600) -> str:
    """Run a command and return what it printed; RuntimeError with what it said where it fails and that matters."""
    done = subprocess.run(
        command, input=given, env=environment(), capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])}: exit {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


@dataclass(frozen=True)
class Built:
    """An image that was built just now."""

    name: str
    seconds: float
    size_bytes: int


def make_base() -> None:
    """Make a Debian with Python, where there is none: what python:3.11-slim-bookworm is elsewhere."""
    if has_image(BASE):
        return
    with tempfile.TemporaryDirectory(prefix="bptt-base-") as folder:
        archive = f"{folder}/base.tar"
        packages = "--include=ca-certificates,python3,python3-venv"
        call("mmdebstrap", "--variant=minbase", packages, "bookworm", archive)
        call("podman", "import", archive, BASE)


def has_image(name: str) -> bool:
    """Tell whether there is an image of that name."""
    images = json.loads(call("podman", "images", "--format", "json"))
    # A build that broke off leaves images without a name.
    return any(name in (image.get("Names") or ()) for image in images)


def build(name: str, dockerfile: Path, *options: str, context: Path = ROOT) -> Built:
    """Build an image of the project's on that base; layers that did not change are taken from before."""
    began, more = time.monotonic(), [f"--build-arg=BASE_IMAGE={BASE}", *options]
    with tempfile.TemporaryDirectory(prefix="bptt-pip-") as settings:
        mounts = [f"{CERTIFICATES}:{CERTIFICATES}:ro", *pip_settings(Path(settings))]
        call(
            *("buildah", "build", "--layers", "--format=docker", "--timestamp=0", f"--tag={name}", *more),
            *(f"--volume={mount}" for mount in mounts),
            *(f"--ignorefile={dockerfile}.dockerignore", f"--file={dockerfile}", str(context)),
            timeout_s=2400,
        )
    return Built(name, time.monotonic() - began, int(inspect(name)["Size"]))


def inspect(image: str) -> dict[str, Any]:
    """Return what is known of an image."""
    [found] = json.loads(call("podman", "image", "inspect", image))
    return dict(found)


def pip_settings(folder: Path) -> list[str]:
    """Write what this machine's pip is told, of a mirror if it has one, and return what of it a build is to see."""
    listed = call(sys.executable, "-m", "pip", "config", "list")
    told = dict(re.findall(r"^[^.]+\.(find-links|index-url|extra-index-url|cert)='([^']*)'$", listed, re.MULTILINE))
    file = folder / "pip.conf"
    file.write_text("\n".join(["[global]", *(f"{name} = {value}" for name, value in told.items()), ""]))
    local = {Path(found) for found in re.findall(r"(?<![:\w])(?:file://)?(/[\w./-]+)", " ".join(told.values()))}
    # An index refers to files beside it; certificates are mounted already.
    beside = {Path(*path.parts[:3]) for path in local if path.exists() and not path.is_relative_to(CERTIFICATES)}
    return [f"{file}:/etc/pip.conf:ro", *(f"{path}:{path}:ro" for path in sorted(beside))]


def make_secret(name: str, values: Mapping[str, str]) -> None:
    """Make a secret as `podman play kube` of Debian 12 reads it for a Secret of Kubernetes."""
    call("podman", "secret", "rm", name, check=False)
    encoded = {key: b64encode(value.encode()).decode() for key, value in values.items()}
    call("podman", "secret", "create", name, "-", given=json.dumps(encoded))


def make_pod(documents: Iterable[Mapping[str, Any]]) -> int:
    """Make a pod with its ConfigMaps, without a network as yet, and return the process that holds its namespaces.

    Podman puts no pod into a network that is there already, but this one may be put into the pod's before it starts.
    """
    made = [dict(document) for document in documents]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump_all(made, file)
        file.flush()
        call("podman", "play", "kube", "--network=none", "--start=false", file.name)
    holder = json.loads(call("podman", "pod", "inspect", made[-1]["metadata"]["name"]))["InfraContainerID"]
    call("podman", "start", holder)
    return int(state(holder)["Pid"])


def start_pod(name: str) -> None:
    """Start the containers of a pod."""
    call("podman", "pod", "start", name)


def inside(container: str, *command: str, check: bool = True, timeout_s: float = 300) -> str:
    """Run a command in a container, as `kubectl exec` does, and return what it printed."""
    return call("podman", "exec", container, *command, check=check, timeout_s=timeout_s)


def logs(container: str) -> str:
    """Return what a container has printed."""
    done = subprocess.run(["podman", "logs", container], env=environment(), capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def state(container: str) -> dict[str, Any]:
    """Return how a container is: `Status`, `ExitCode`, `OOMKilled`."""
    [found] = json.loads(call("podman", "container", "inspect", container))
    return dict(found["State"])


def wait_for_end(container: str, timeout_s: float) -> None:
    """Wait until a container has done what it was started for; RuntimeError with what it said where it did not."""
    try:
        status = call("podman", "wait", container, timeout_s=timeout_s).strip()
    except subprocess.TimeoutExpired:
        status = f"nothing after {timeout_s:g} s"
    if status != "0":
        raise RuntimeError(f"{container}: {status}\n{logs(container)[-3000:]}")


def remove_pod(name: str) -> None:
    """End a pod at once and remove it with its volumes; nothing where there is none."""
    call("podman", "pod", "rm", "--force", "--time=0", name, check=False)
    for volume in call("podman", "volume", "ls", "--quiet").split():
        if volume.startswith(f"{name}-"):
            call("podman", "volume", "rm", "--force", volume, check=False)
