"""The user's own `kubectl`: called with lists of arguments, never through a shell, and its errors told in a line."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from orchestrator.errors import BpttError, UserError

PROGRAM = "kubectl"
NAMESPACE = "bptt"
REQUEST_S = 30
"""Seconds after which an API server that does not answer is given up."""
MISSING = "kubectl is not here; install it (https://kubernetes.io/docs/tasks/tools/) and put it on PATH"
AWAY = re.compile(
    r"(?i)connection to the server|unable to connect|couldn't get current server|i/o timeout|no such host|"
    r"connection refused|context deadline exceeded|Client\.Timeout"
)
GIVEN_WRONG = re.compile(
    r"(?i)context .*(does not exist|was not found)|invalid configuration|unknown flag|error loading config"
)

Object = Mapping[str, Any]
"""One object of Kubernetes, as it stands in YAML."""


class ClusterError(BpttError):
    """The cluster cannot do what was asked, or cannot be reached."""


class Absent(ClusterError):
    """The cluster has no such object, or no such kind of objects."""


class Exists(ClusterError):
    """An object of that name is there already."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """`kubectl` for one context and namespace."""

    context: str = ""
    namespace: str = NAMESPACE

    def command(self, *arguments: str) -> list[str]:
        """Return the whole command, as it would be typed."""
        context = ["--context", self.context] if self.context else []
        return [PROGRAM, *context, "--namespace", self.namespace, *arguments]

    def run(self, *arguments: str, stdin: str | None = None, allowed: Sequence[int] = (0,)) -> str:
        """Call it and return what it prints; `stdin` may hold what must not be seen on a command line.

        Raises Absent, Exists or ClusterError with what it says, and UserError where kubectl itself or the context is
        missing.
        """
        timeout = [] if arguments[0] in ("wait", "rollout", "kustomize") else [f"--request-timeout={REQUEST_S}s"]
        done = _call([*self.command(*arguments), *timeout], stdin)
        if done.returncode not in allowed:
            raise self.fault(done.stderr or done.stdout)
        return done.stdout

    def fault(self, said: str) -> BpttError:
        """Return what kubectl complains of, as the error that it stands for."""
        said = said.strip()
        line = (said.splitlines() or ["kubectl failed and said nothing"])[-1].removeprefix("error: ")
        if GIVEN_WRONG.search(said):
            return UserError(f"kubectl: {line}; `kubectl config get-contexts` lists what there is")
        if AWAY.search(said):
            where = f"the cluster of context {self.context}" if self.context else "the cluster"
            return ClusterError(f"{where} cannot be reached: {line}; see `kubectl cluster-info`")
        if "(NotFound)" in said or "doesn't have a resource type" in said:
            return Absent(line)
        if "(AlreadyExists)" in said:
            return Exists(line)
        if "(Forbidden)" in said:
            return ClusterError(f"{line}; ask whoever runs the cluster for the right, or use another context")
        return ClusterError(f"kubectl: {line}")

    def get(self, kind: str, name: str) -> Object:
        """Return one object; Absent where there is none."""
        return _object(self.run("get", kind, name, "--output=json"))

    def find(self, kind: str, *arguments: str) -> list[Object]:
        """Return the objects of a kind; none where the cluster does not know the kind."""
        try:
            return list(_object(self.run("get", kind, *arguments, "--output=json")).get("items", ()))
        except Absent:
            return []

    def create(self, made: Object) -> None:
        """Create an object, which nobody sees on a command line; Exists where its name is taken."""
        self.run("create", "--filename=-", stdin=json.dumps(made))

    def has(self, kind: str, name: str) -> bool:
        """Tell whether there is such an object."""
        try:
            self.run("get", kind, name, "--output=name")
        except Absent:
            return False
        return True

    def may(self, verb: str, kind: str) -> bool:
        """Tell whether this user has a right to that kind of objects here."""
        # No is an exit status too.
        said = self.run("auth", "can-i", verb, kind, allowed=(0, 1))
        return said.strip().splitlines()[-1:] == ["yes"]

    def stream(self, *arguments: str) -> int:
        """Let it write to this terminal itself until it ends; return its exit status."""
        try:
            return subprocess.call(self.command(*arguments))
        except FileNotFoundError as error:
            raise UserError(MISSING) from error


def kustomize(folder: Path) -> str:
    """Return what a kustomization renders to; no cluster is asked."""
    done = _call([PROGRAM, "kustomize", str(folder)], None)
    if done.returncode:
        raise ClusterError(f"kubectl kustomize: {' '.join(done.stderr.split()).removeprefix('error: ')[-300:]}")
    return done.stdout


def _call(command: list[str], stdin: str | None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=stdin or "", capture_output=True, text=True, errors="replace")
    except FileNotFoundError as error:
        raise UserError(MISSING) from error


def _object(text: str) -> Object:
    try:
        return cast(Object, json.loads(text))
    except ValueError as error:
        raise ClusterError(f"kubectl answered no JSON: {text[:80]!r}") from error


def name_of(found: Object) -> str:
    """Return an object's name."""
    return str(found["metadata"]["name"])


def typed(found: Object) -> str:
    """Return an object's kind as kubectl tells it from those of other groups: `rayjob.ray.io`, `service`."""
    group, _, _ = str(found["apiVersion"]).rpartition("/")
    return f"{found['kind'].lower()}.{group}".rstrip(".")


def within(found: Any, *path: str | int) -> Any:
    """Return what stands at a path inside an object, None where there is nothing."""
    for step in path:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            return None
    return found
