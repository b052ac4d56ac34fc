"""Telling one process from another, across machines, containers and reuse of numbers."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path


def own_name() -> str:
    """Return a name for this process that no other has: host, process number, start, namespace and a random part."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}:{_namespace()}:{uuid.uuid4().hex[:8]}"


def lives_here(name: str | None) -> bool:
    """Tell whether that is a process of this machine, and still there."""
    return name is not None and _is_of_this_machine(name) and not is_gone(name)


def is_gone(name: str) -> bool:
    """Tell whether the process of that name is known to have ended; of another machine's nothing is known."""
    _, pid, started, *_ = name.split(":")
    if not _is_of_this_machine(name):
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _status(int(pid))[:1] in (["Z"], ["X"]) or (started != "0" and _started(int(pid)) != started)


def _is_of_this_machine(name: str) -> bool:
    host, _, _, namespace, _ = name.split(":")
    # Containers may share a host's name, but then not its process numbers.
    return (host, namespace) == (socket.gethostname(), _namespace())


def _started(pid: int) -> str:
    # Process numbers are reused; with its start time a process is told from its successor.
    status = _status(pid)
    return status[19] if len(status) > 19 else "0"


def _status(pid: int) -> list[str]:
    """Return the fields of proc(5)'s stat from the state on; Z is a process that ended and was not waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def _namespace() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        return boot + "-" + Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return "0"
