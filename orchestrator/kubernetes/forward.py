"""A port of the cluster brought here by `kubectl port-forward`, for as long as it is needed."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

from orchestrator.errors import UserError
from orchestrator.kubernetes.credentials import TOKEN_KEY, token_secret
from orchestrator.kubernetes.kubectl import MISSING, Absent, ClusterError, Kubectl

CLUSTER = "bptt"
"""Name of the RayCluster that stands."""
DASHBOARD = 8265
OPENING_S = 30.0


@contextlib.contextmanager
def forwarded(kubectl: Kubectl, target: str, port: int) -> Iterator[int]:
    """Bring a port of `service/NAME` or `pod/NAME` here, and yield the local one; ClusterError where that fails."""
    command = kubectl.command("port-forward", "--address=127.0.0.1", target, f":{port}")
    piped: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    try:
        # In a session of its own Ctrl-C in this terminal ends it when it is no longer needed, and not before.
        process = subprocess.Popen(command, text=True, start_new_session=True, **piped)
    except FileNotFoundError as error:
        raise UserError(MISSING) from error
    with process:
        given_up = threading.Timer(OPENING_S, process.kill)
        given_up.start()
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            found = re.search(r"127\.0\.0\.1:(\d+) ->", process.stdout.readline())
            if found is None:
                raise kubectl.fault(process.stderr.read() or f"{target} was not forwarded within {OPENING_S:g} s")
            given_up.cancel()
            # It says a line for every connection, and would wait for a reader.
            for stream in (process.stdout, process.stderr):
                threading.Thread(target=stream.read, daemon=True).start()
            yield int(found[1])
        finally:
            given_up.cancel()
            process.terminate()


def take_token(kubectl: Kubectl) -> None:
    """Let Ray's client here use the token of the cluster that stands, unless this terminal has one already."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    try:
        cluster = kubectl.get("raycluster", CLUSTER)
    except Absent as error:
        raise ClusterError(f"there is no RayCluster {CLUSTER} in {kubectl.namespace}; see `bptt k8s apply`") from error
    if name := token_secret(cluster):
        encoded = (kubectl.get("secret", name).get("data") or {}).get(TOKEN_KEY, "")
        os.environ["RAY_AUTH_TOKEN"] = base64.b64decode(encoded).decode()
