"""Hosts on one machine, joined by a bridge: each with its own address, name, processes and /tmp/ray."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

BRIDGE, SUBNET = "bptt0", "10.77.0"
NAMESPACES = ("--net", "--uts", "--pid", "--mount")
FIRST = """
import signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whatever has lost its parent is not left behind as a zombie
print(flush=True)
sys.stdin.read()  # to the end of whoever made this host
"""
"""What the first process of a host does: with its end, all others of the host end too."""


def run(*command: str, check: bool = True) -> str:
    """Run a command and return what it printed; CalledProcessError where it fails and that matters."""
    return subprocess.run(command, check=check, capture_output=True, text=True).stdout


def why_not() -> str:
    """Return what this machine lacks for hosts of its own; empty where nothing is missing."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    missing = [name for name in ("ip", "tc", "unshare", "nsenter") if shutil.which(name) is None]
    return f"{' and '.join(missing)} missing (Debian: iproute2, util-linux)" if missing else ""


def children_of(pid: int) -> list[int]:
    """Return the numbers of the processes that a process has started and that have not ended."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Network:
    """A bridge, whose address is this machine's own there, and the hosts on it."""

    address = f"{SUBNET}.1"

    def __enter__(self) -> Network:
        self._lock = (Path(tempfile.gettempdir()) / "bptt-cluster.lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RuntimeError("another cluster of tests runs on this machine; wait for its end") from error
        self._hosts: list[Host] = []
        run("ip", "link", "delete", BRIDGE, check=False)  # what a killed run left behind
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", f"{self.address}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for host in self._hosts:
            host.lose()
        run("ip", "link", "delete", BRIDGE, check=False)
        self._lock.close()

    def add(self, folder: Path) -> Host:
        """Add a host, whose files lie in `folder`; none gets the address of another."""
        number = len(self._hosts) + 1
        host = Host(number, folder / f"host-{number}")
        self._hosts.append(host)
        return host


class Process:
    """A process started on a host, with a log."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self._popen, self.log = popen, log

    @property
    def status(self) -> int | None:
        """Return its exit status; None while it runs."""
        return self._popen.poll()

    def wait(self, timeout_s: float) -> int:
        """Return its exit status; TimeoutExpired where it goes on for longer."""
        return self._popen.wait(timeout_s)

    def pause(self) -> None:
        """Stop it, as a machine that is suspended does."""
        for child in children_of(self._popen.pid):
            os.kill(child, signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on: nsenter, which stops when what it has started does, hands that on."""
        os.kill(self._popen.pid, signal.SIGCONT)

    def said(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(errors="replace")


class Host:
    """One host of the network, until it is lost."""

    def __init__(self, number: int, folder: Path) -> None:
        self.name, self.address, self.folder = f"host-{number}", f"{SUBNET}.{number + 1}", folder
        (folder / "ray").mkdir(parents=True)
        # Ray keeps its sockets there, and a socket's path may have 107 characters.
        inside = f"hostname {self.name}; mkdir -p /tmp/ray; mount --bind '{folder}/ray' /tmp/ray; exec \"$@\""
        command = ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", "sh", "-c", inside, "sh"]
        # What unshare says of its child's end is known already.
        self._holder = subprocess.Popen(
            [*command, sys.executable, "-c", FIRST],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        if self._holder.stdout is None or self._holder.stdout.readline() != b"\n":
            raise RuntimeError(f"{self.name} does not start")
        [self._first] = children_of(self._holder.pid)
        self._link = f"bptt{number}"
        self._connect()

    def _connect(self) -> None:
        inside = f"{self._link}i"
        run("ip", "link", "delete", self._link, check=False)
        run("ip", "link", "add", self._link, "type", "veth", "peer", "name", inside)
        run("ip", "link", "set", inside, "netns", str(self._first))
        run("ip", "link", "set", self._link, "master", BRIDGE, "up")
        for command in (
            ("ip", "address", "add", f"{self.address}/24", "dev", inside),
            ("ip", "link", "set", inside, "up"),
            ("ip", "link", "set", "lo", "up"),
        ):
            run(*self.command(command))

    @property
    def is_there(self) -> bool:
        """Tell whether the host was not lost."""
        return self._holder.poll() is None

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs another one on this host."""
        return ["nsenter", "--target", str(self._first), "--all", *command]

    def start(self, name: str, command: Sequence[str], environ: Mapping[str, str]) -> Process:
        """Start a process on this host; what it prints is added to the log of that name in the host's folder."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as stream:
            return Process(self._popen(command, environ, stream), log)

    def _popen(self, command: Sequence[str], environ: Mapping[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(command),
            env=environ,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def processes(self, *words: str) -> list[int]:
        """Return this machine's numbers of the host's processes whose command line has one of the words."""
        mine, found = Path(f"/proc/{self._first}/ns/pid").readlink(), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and entry.name != str(self._first):
                try:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if (entry / "ns/pid").readlink() == mine and any(word in line for word in words):
                        found.append(int(entry.name))
                except OSError:  # it has ended
                    continue
        return sorted(found)

    def kill(self, *words: str) -> None:
        """End the processes that have one of the words in their command line."""
        for pid in self.processes(*words) if self.is_there else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def lose(self) -> None:
        """Take the host away as a power failure does: everything on it ends at once."""
        if self.is_there:
            os.kill(self._first, signal.SIGKILL)
            self._holder.wait(30)
        run("ip", "link", "delete", self._link, check=False)

    def cut_off(self) -> None:
        """Let nothing through."""
        run("ip", "link", "set", self._link, "down")

    def bring_back(self) -> None:
        """Let everything through again."""
        run("ip", "link", "set", self._link, "up")

    def slow_down(self, kilobits: int) -> None:
        """Let so many kilobits through each second; netem, which would delay them too, is not in every kernel."""
        shape = ("tbf", "rate", f"{kilobits}kbit", "burst", "10k", "latency", "400ms")
        run("tc", "qdisc", "replace", "dev", self._link, "root", *shape)

    def speed_up(self) -> None:
        """Take the limit off."""
        run("tc", "qdisc", "delete", "dev", self._link, "root", check=False)
