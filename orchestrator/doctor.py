"""What a sweep needs, looked at one by one: each check says what it found and, where it is not well, what to do.

Looking changes nothing: no database is made, and whatever a check writes it removes.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from orchestrator.checkpoints.storage import CheckpointStorage
from orchestrator.errors import BpttError, masked, presentable
from orchestrator.presence import presence
from orchestrator.settings import Settings
from orchestrator.tracking.credentials import ADVICE, refusal
from workloads.data.catalogue import ENTRIES, data_root

OK, WARNING, FAILURE = "ok", "warning", "failure"
LOW_DISK_BYTES = 2e9
NETWORK_FILE_SYSTEMS = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone"),
    }
)
MOUNTS = Path("/proc/mounts")
ANSWER_S = 5.0
"""How long a server may take to answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    state: str
    """`ok`, `warning` (sweeps run, but read on) or `failure` (they do not)."""
    message: str
    advice: str = ""
    """What to do, where something is to be done."""

    def __post_init__(self) -> None:
        for field in ("message", "advice"):
            object.__setattr__(self, field, masked(getattr(self, field)))


def check_python(_settings: Settings) -> Iterable[Finding]:
    """Compare the installed packages with what this project asks for."""
    version = ".".join(map(str, sys.version_info[:3]))
    try:
        wanted = metadata.requires("bptt") or []
    except metadata.PackageNotFoundError:
        yield Finding("packages", WARNING, f"Python {version}; bptt itself is not installed", "pip install .")
        return
    wrong = list(unmet(wanted))
    if wrong:
        advice = f"pip install {' '.join(repr(needed) for needed, _ in wrong)}"
        found = "; ".join(f"{needed} is needed, {there} is there" for needed, there in wrong)
        state = FAILURE if any(there == "nothing" for _, there in wrong) else WARNING
        yield Finding("packages", state, found, advice)
        return
    shown = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "ray", "optuna", "mlflow"))
    yield Finding("packages", OK, f"Python {version}, {shown}")


def unmet(requirements: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Yield each requirement that the installed packages do not meet, with what is there instead."""
    from packaging.requirements import Requirement

    for text in requirements:
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            there = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            there = "nothing"
        if there == "nothing" or not needed.specifier.contains(there, prereleases=True):
            yield f"{needed.name}{needed.specifier}", there


def check_devices(_settings: Settings) -> Iterable[Finding]:
    """Count the cores, and name the GPUs that torch can use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        names = [torch.cuda.get_device_name(index) for index in range(count)]
    except (ImportError, RuntimeError) as error:
        yield Finding("devices", FAILURE, f"torch does not work here: {one_line(error)}", "install torch again")
        return
    gpus = ", ".join(names) if names else "no GPU"
    if not names and shutil.which("nvidia-smi"):
        advice = "install a torch built for CUDA, or run on the CPU"
        yield Finding("devices", WARNING, f"{cores} CPU cores; there is a GPU driver, but torch sees no GPU", advice)
        return
    yield Finding("devices", OK, f"{cores} CPU core{'s'[: cores > 1]}, {gpus}")


def check_kernels(_settings: Settings) -> Iterable[Finding]:
    """Compile this project's kernels, if they never were for this machine."""
    from workloads.models.cells.compiled import kernels_or_why

    found = kernels_or_why()
    if isinstance(found, str):
        advice = "install gcc or clang; on one CPU thread some cells train twice as fast with what it compiles"
        yield Finding("kernels", WARNING, f"torch's own alone: {one_line(found)}", advice)
        return
    yield Finding("kernels", OK, "compiled for this machine")


def check_ray(settings: Settings) -> Iterable[Finding]:
    """Start Ray (or reach the cluster) as a sweep would, and run a task there.

    In a process of its own: Ray ends the one that it is in where its own processes die.
    """
    from orchestrator.executors.cluster import probe

    began = time.monotonic()
    where = f"the cluster at {settings.ray_address}" if settings.ray_address else "Ray on this machine"
    advice = "check BPTT_RAY_ADDRESS." if settings.ray_address else "is there memory, and disk in /tmp?"
    advice = f"{advice} `bptt run SWEEP --in-process` needs no Ray"
    spawn = multiprocessing.get_context("spawn")
    answers, answer = spawn.Pipe(duplex=False)
    apart = spawn.Process(target=_answer, args=(probe, settings.ray_address, answer))
    apart.start()
    answer.close()
    try:
        has = answers.recv()
    except EOFError:
        has = f"the process that tried {where} ended by itself"
        if not settings.ray_address:
            advice = f"Ray's logs are in /tmp/ray; {advice}"
    apart.join()
    if isinstance(has, str):
        yield Finding("ray", FAILURE, has, advice)
        return
    resources = f"{has.get('CPU', 0):g} CPU, {has.get('GPU', 0):g} GPU, {has.get('memory', 0) / 1e9:.1f} GB memory"
    yield Finding("ray", OK, f"{where} ran a task after {time.monotonic() - began:.1f} s: {resources}")


def _answer(probe: Callable[[str], dict[str, float]], address: str, answer: Connection) -> None:
    """Send what a probe finds, or in a line why it finds nothing."""
    try:
        answer.send(probe(address))
    except BpttError as error:
        answer.send(str(error))


def check_study(settings: Settings) -> Iterable[Finding]:
    """Open the sweeps' database and try to write."""
    yield from check_database("sweeps", settings.study_url, "BPTT_STUDY_URL")


def check_tracking(settings: Settings) -> Iterable[Finding]:
    """Reach the tracking server, or open its database."""
    uri = settings.tracking_uri
    if uri == "none":
        yield Finding("tracking", OK, "switched off")
    elif uri.startswith(("http://", "https://")):
        yield check_server(uri)
    else:
        yield from check_database("tracking", uri, "BPTT_TRACKING_URI")


def check_server(uri: str) -> Finding:
    """Ask a tracking server for its health."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=ANSWER_S) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            advice = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            return Finding("tracking", WARNING, f"{uri} asks for a password", advice)
        return Finding("tracking", FAILURE, f"{uri} answers {error.code} {error.reason}", "is it an MLflow server?")
    except (OSError, ValueError) as error:
        advice = "start it, or correct BPTT_TRACKING_URI; sweeps go on without it and log later"
        return Finding("tracking", FAILURE, f"{uri} cannot be reached: {one_line(error)}", advice)
    if why := refusal(uri):  # health is everybody's to ask
        return Finding("tracking", FAILURE, why, ADVICE)
    return Finding("tracking", OK, f"{uri} answers")


def check_database(name: str, url: str, variable: str) -> Iterable[Finding]:
    """Open a database by its URL and try to write."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError:
        yield Finding(
            name, FAILURE, f"{url!r} is no database's URL", f"set {variable}, as in sqlite:////data/{name}.db"
        )
        return
    if parsed.get_backend_name() != "sqlite":
        yield check_database_server(name, url, variable)
        return
    file = Path(parsed.database or "")
    network = network_file_system(file)
    if network:
        yield Finding(
            name,
            WARNING,
            f"{file} lies on a network file system ({network}), where SQLite LOSES AND CORRUPTS DATA",
            f"keep it on a local disk (--runs), or set {variable} to a PostgreSQL URL",
        )
    yield check_sqlite(name, file)


def check_database_server(name: str, url: str, variable: str) -> Finding:
    """Connect to a database that is a server's."""
    from sqlalchemy import create_engine, make_url, text
    from sqlalchemy.exc import SQLAlchemyError

    shown = make_url(url).render_as_string(hide_password=True)
    try:
        engine = create_engine(url)
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        return Finding(name, FAILURE, f"{shown}: {one_line(error)}", f"check {variable}, the server and its driver")
    return Finding(name, OK, f"{shown} answers")


def check_sqlite(name: str, file: Path) -> Finding:
    """Open an SQLite file and write a table that is rolled back; where there is none, see that one can be made."""
    if not file.exists():
        return absent(name, file, "will be made on the first run")
    try:
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=ANSWER_S)
        try:
            connection.isolation_level = None
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE bptt_doctor (x)")
            connection.execute("ROLLBACK")
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return Finding(name, WARNING, f"{file} is held by another process", "wait for it, or see what it is doing")
        return Finding(name, FAILURE, f"{file} cannot be written: {error}", "check its owner and its folder's")
    except sqlite3.DatabaseError as error:
        return Finding(name, FAILURE, f"{file} is damaged: {error}", "restore it from a copy, or move it away")
    return Finding(name, OK, f"{file} can be written")


def absent(name: str, path: Path, promise: str) -> Finding:
    """Say whether something that is not there yet can be made."""
    folder = existing_parent(path)
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return Finding(name, OK, f"{path} {promise}")
    return Finding(name, FAILURE, f"{path} cannot be made: {folder} cannot be written", "choose another folder: --runs")


def existing_parent(path: Path) -> Path:
    """Return the nearest thing above `path` that exists."""
    return next(parent for parent in path.absolute().parents if parent.exists())


def network_file_system(path: Path, mounts: Path = MOUNTS) -> str:
    """Return the kind of network file system that `path` lies on; empty where it is a local one, or unknown."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    resolved = path.absolute().resolve()
    kind, depth = "", -1
    for line in lines:
        _, point, found, *_ = line.split()
        place = Path(point.replace("\\040", " "))
        # Of two mounts at one place the later one hides the earlier.
        if resolved.is_relative_to(place) and len(place.parts) >= depth:
            kind, depth = found, len(place.parts)
    return kind if kind in NETWORK_FILE_SYSTEMS else ""


def check_checkpoints(settings: Settings) -> Iterable[Finding]:
    """Write a file to the checkpoints' storage, read it and delete it."""
    uri = settings.checkpoints
    if uri.startswith("file:"):
        folder = Path(url2pathname(urlsplit(uri).path))
        if not folder.exists():
            yield absent("checkpoints", folder, "will be made on the first run")
            return
    content = os.urandom(64)
    try:
        storage = CheckpointStorage(uri)
        written = storage.write(f"doctor-{os.getpid()}-{time.time_ns():x}", content)
        same = storage.read(written) == content
        storage.delete(written)
    except (BpttError, OSError) as error:
        yield Finding("checkpoints", FAILURE, f"{uri}: {one_line(error)}", "check BPTT_CHECKPOINTS and its rights")
        return
    if not same:
        yield Finding("checkpoints", FAILURE, f"{uri} gives back other bytes than were written", "use another storage")
        return
    yield Finding("checkpoints", OK, f"{uri} can be written, read and cleaned")


def check_disk(settings: Settings) -> Iterable[Finding]:
    """Measure the free space for runs, and for Ray's own files."""
    for name, path in (("disk", settings.runs), ("temporary disk", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(path if path.exists() else existing_parent(path)).free
        state, advice = OK, ""
        if free < LOW_DISK_BYTES:
            state, advice = WARNING, "free some, or move it: " + ("--runs" if name == "disk" else "TMPDIR")
        yield Finding(name, state, f"{free / 1e9:.1f} GB free at {path}", advice)


def check_data(_settings: Settings) -> Iterable[Finding]:
    """Look for the data known by name."""
    found = {name: presence(entry) for name, entry in ENTRIES.items()}
    here = [name for name, where in found.items() if where.here]
    yield Finding("data", OK, f"{len(here)} of {len(found)} here ({', '.join(here)}); downloads in {data_root()}")
    for name, entry in ENTRIES.items():
        if entry.package and not found[name].here:
            yield Finding("data", WARNING, f"{name} is missing", found[name].place)


Check = Callable[[Settings], Iterable[Finding]]

CHECKS: dict[str, Check] = {
    "Python and packages": check_python,
    "devices": check_devices,
    "compiled kernels": check_kernels,
    "the sweeps' database": check_study,
    "tracking": check_tracking,
    "checkpoint storage": check_checkpoints,
    "disk": check_disk,
    "data": check_data,
    "Ray": check_ray,
}
"""What is looked at, the slowest last."""


def one_line(error: object) -> str:
    """Return the message of an error, fit for one line."""
    return presentable(str(error))[:300]
