"""Sending a sweep to a cluster as a job, once however often it is asked for, and seeing that its driver begins."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import has_trials
from orchestrator.driver import refuse_changes
from orchestrator.errors import BpttError, SpecChanged, SweepNotFound
from orchestrator.jobs.parcel import Submission, holds_secret, pack
from orchestrator.jobs.server import ClusterJob, DuplicateJob, JobsServer, without_user
from orchestrator.spec import SweepSpec

DRIVEN_BY = "driven by"
"""Words of the line by which a driver says in its job that it has the sweep."""
ON_KUBERNETES = "kubernetes:"
"""What the address of a job begins with whose cluster is a RayJob's; NAMESPACE/NAME follow."""
MOST_TRIES = 5
WAIT_S = 60.0
LOOK_EVERY_S = 0.5
LAST_LINES = 12


@dataclass(frozen=True, slots=True)
class Sending:
    """How a sweep is sent."""

    here: Path
    with_project: bool = True
    python: str = "python"
    known_as: str = ""
    """The cluster's address as others have it, where the one used here leads there from this terminal alone."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a sweep that was to be sent."""

    job: str
    """Name of the job that drives it, empty where a driver of another kind does."""
    is_new: bool
    why: str = ""
    """Why it was not sent, where it was not."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a job began."""

    state: str
    """`driven`, `driven elsewhere` (by another database than this one), `waiting`, or how the job ended."""
    exit_status: int = 0
    lines: str = ""
    """The last ones that it wrote, where it failed."""


def job_name(sweep: str, number: int) -> str:
    """Return the name of a sweep's job."""
    return f"bptt-{sweep}-{number}"


def jobs_of(server: JobsServer, sweep: str) -> dict[int, ClusterJob]:
    """Return the sweep's jobs on the cluster by their number."""
    pattern = re.compile(rf"bptt-{re.escape(sweep)}-(\d+)")
    return {int(match[1]): job for job in server.jobs() if (match := pattern.fullmatch(job.name))}


def digest(spec: SweepSpec) -> str:
    """Return a short name of what a sweep says, its resources apart."""
    plain = {name: value for name, value in spec.plain().items() if name != "resources"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def submit(
    server: JobsServer, spec: SweepSpec, *, submission: Submission, sending: Sending, ledger: Ledger | None
) -> Sent:
    """Send a sweep unless it is being driven already; `ledger` is the sweeps' database where it can be seen from here.

    Raises SpecChanged where a sweep of that name exists with another spec, and UserError where it cannot travel.
    """
    before = 0
    if ledger is not None:
        try:
            row = ledger.sweep(spec.name)
        except SweepNotFound:
            pass
        else:
            refuse_changes(row, spec, fixed=row.is_driven or has_trials(ledger, spec.name))
            driver = ledger.driver(spec.name)
            if row.is_driven:
                job = driver.job if driver is not None and driver.owner == row.owner else ""
                return Sent(job, False, "it is being driven already")
            before = _number(driver.job, spec.name) if driver is not None else 0
    address = recorded_address(sending.known_as or server.address)
    with tempfile.TemporaryDirectory(prefix="bptt-") as folder:
        pack(spec, submission, Path(folder), here=sending.here, with_project=sending.with_project)
        for _ in range(MOST_TRIES):
            known = jobs_of(server, spec.name)
            live = next((job for job in known.values() if job.is_live), None)
            if live is not None:
                return _recognised(live, spec)
            name = job_name(spec.name, max([before, *known]) + 1)
            try:
                server.submit(
                    name,
                    f"{shlex.quote(sending.python)} -m orchestrator.cli drive --supervise",
                    folder=Path(folder),
                    environment={"BPTT_JOB": name, "BPTT_JOBS_ADDRESS": address},
                    metadata={"sweep": spec.name, "spec": digest(spec)},
                )
            except DuplicateJob:
                continue  # another terminal was first; its job is seen at the next look
            return Sent(name, True)
    raise BpttError(f"{spec.name}: others submit it at the same time, and their jobs end at once; see `bptt logs`")


def _number(job: str, sweep: str) -> int:
    match = re.fullmatch(rf"bptt-{re.escape(sweep)}-(\d+)", job)
    return int(match[1]) if match else 0


def _recognised(job: ClusterJob, spec: SweepSpec) -> Sent:
    if job.metadata.get("spec") not in (None, digest(spec)):
        raise SpecChanged(
            f"{spec.name} is being run by job {job.name} with another spec; give this one another name, or stop that "
            f"one with `bptt stop {spec.name}`"
        )
    return Sent(job.name, False, f"its job is {job.state} already")


def recorded_address(address: str) -> str:
    """Return the address as it may be seen by everyone."""
    plain = without_user(address)
    return "" if holds_secret(plain) else plain


def await_driver(
    server: JobsServer,
    sweep: str,
    job: str,
    *,
    open_ledger: Callable[[], Ledger | None],
    say: Callable[[str], None],
    wait_s: float = WAIT_S,
) -> Beginning:
    """Wait until the job's driver has the sweep, or the job has ended, or `wait_s` are over."""
    end, before = time.monotonic() + wait_s, ""
    while True:
        found = server.job(job)
        if found.state != before:
            say(f"job {job} is {found.state}")
            before = found.state
        ledger = open_ledger()
        row = None if ledger is None else ledger.driver(sweep)
        if row is not None and row.job == job and found.is_live:
            return Beginning("driven")
        if not found.is_live:
            return ended(server, found)
        if f"{sweep}: {DRIVEN_BY} " in server.lines(job):
            # Said after it was noted in the database that the job uses.
            row = None if ledger is None else ledger.driver(sweep)
            return Beginning("driven" if row is not None and row.job == job else "driven elsewhere")
        if time.monotonic() > end:
            return Beginning("waiting")
        time.sleep(LOOK_EVERY_S)


def ended(server: JobsServer, job: ClusterJob) -> Beginning:
    """Return how a job ended; a failed one with its last lines."""
    if job.state == "succeeded":
        return Beginning(job.state)
    if job.state == "stopped":
        return Beginning(job.state, 130)
    # A job that never came to run has its reason in the message alone.
    said = server.lines(job.name) if job.exit_status is not None else job.message
    lines = "\n".join(said.strip().splitlines()[-LAST_LINES:])
    return replace(Beginning(job.state, 1, lines), exit_status=job.exit_status if job.exit_status in (2, 130) else 1)
