"""Ray's Jobs server, at a cluster's dashboard: jobs sent there, looked at, and their lines read."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from orchestrator.errors import BpttError, UserError, masked

ON_THE_HEAD = "http://127.0.0.1:8265"
"""Where it is for whatever runs on the head of a cluster on Kubernetes."""
REACH_S = 5.0
MOST_BREAKS = 5
"""Times in a row that the stream of a job's lines may break before it is given up."""
OVERRIDES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Variables by which Ray's own client would go elsewhere than where it is told to."""
CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""Loggers of Ray's that tell of every upload."""
TOKEN = "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file that holds it"


class DuplicateJob(BpttError):
    """A job of that name is there already."""


@dataclass(frozen=True, slots=True)
class ClusterJob:
    """One job as the cluster knows it."""

    name: str
    state: str
    """`pending`, `running`, `stopped`, `succeeded` or `failed`."""
    message: str
    exit_status: int | None
    metadata: Mapping[str, str]

    @property
    def is_live(self) -> bool:
        """Tell whether it has not ended."""
        return self.state in ("pending", "running")


def is_jobs_address(address: str) -> bool:
    """Tell whether an address is that of a Jobs server; everything else is where a driver here reaches Ray."""
    return re.match(r"(?i)https?://", address) is not None


def jobs_address(address: str) -> str:
    """Return the address of a Jobs server without what is not needed; UserError where it is none."""
    wanted = "a cluster's dashboard is needed, as http://head:8265"
    if not is_jobs_address(address):
        raise UserError(f"address: {address!r}; {wanted}; `bptt run --address` takes head:6379, with a driver here")
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise UserError(f"address: {address!r}: {error}; {wanted}") from error
    if not re.fullmatch(r"[A-Za-z0-9._:%-]+", parts.hostname or "") or port == 0:
        raise UserError(f"address: {address!r} names no host; {wanted}")
    if parts.query or parts.fragment or not re.fullmatch(r"[A-Za-z0-9._~/%-]*", parts.path):
        raise UserError(f"address: {address!r} says more than where the cluster is; {wanted}")
    return urlunsplit((parts.scheme.lower(), parts.netloc, parts.path.rstrip("/"), "", ""))


def without_user(address: str) -> str:
    """Return the address without user and password, fit to be recorded."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class JobsServer:
    """The Jobs server at one address. UserError where it is not there or does not know this token."""

    def __init__(self, address: str) -> None:
        self.address = jobs_address(address)
        _reach(self.address)
        if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
            os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray reads its variables once, when it is imported
        with _plainly(self.address), _without(OVERRIDES):
            from ray.job_submission import JobSubmissionClient

            for name in CHATTY:
                logging.getLogger(name).setLevel(logging.WARNING)
            self._client: Any = JobSubmissionClient(self.address)

    def submit(
        self, name: str, entrypoint: str, *, folder: Path, environment: Mapping[str, str], metadata: Mapping[str, str]
    ) -> None:
        """Send `folder` and run `entrypoint`, a line of shell, in it; DuplicateJob where the name is taken.

        `environment` and `metadata` are for everyone to read who sees the dashboard.
        """
        with _plainly(self.address):
            self._client.submit_job(
                entrypoint=entrypoint,
                submission_id=name,
                runtime_env={"working_dir": str(folder), "env_vars": dict(environment)},
                metadata=dict(metadata),
            )

    def jobs(self) -> list[ClusterJob]:
        """Return every submitted job that the cluster remembers, the oldest first."""
        with _plainly(self.address):
            found = [job for job in self._client.list_jobs() if job.submission_id]
        return [_job(job) for job in sorted(found, key=lambda job: job.start_time or 0)]

    def job(self, name: str) -> ClusterJob:
        """Return one job."""
        with _plainly(self.address):
            return _job(self._client.get_job_info(name))

    def stop(self, name: str) -> None:
        """Let a job be stopped, with its children; return before it is."""
        with _plainly(self.address):
            self._client.stop_job(name)

    def lines(self, name: str) -> str:
        """Return everything that a job has written."""
        with _plainly(self.address):
            return str(self._client.get_job_logs(name))

    def follow(self, name: str) -> Iterator[str]:
        """Yield what a job has written and goes on to write, in pieces, until it ends."""
        from aiohttp import ClientError  # of what Ray's client comes with

        seen = breaks = 0
        while True:
            position = 0
            try:
                for piece in self._stream(name):
                    # A stream begins with the job's first line; what came before it broke is not said twice.
                    position += len(piece)
                    if position > seen:
                        yield piece[max(len(piece) - (position - seen), 0) :]
                        seen, breaks = position, 0
                return
            except (RuntimeError, OSError, ClientError) as error:
                breaks += 1
                if breaks >= MOST_BREAKS:
                    raise BpttError(f"address: {self.address}: {name}'s lines stopped coming: {error}") from error
            time.sleep(breaks)

    def _stream(self, name: str) -> Iterator[str]:
        loop, stream = asyncio.new_event_loop(), self._client.tail_job_logs(name)
        try:
            while True:
                yield loop.run_until_complete(anext(stream))
        except StopAsyncIteration:
            return
        finally:
            loop.run_until_complete(stream.aclose())
            loop.close()


def _job(found: Any) -> ClusterJob:
    state = str(getattr(found.status, "value", found.status)).lower()
    return ClusterJob(
        found.submission_id, state, found.message or "", found.driver_exit_code, dict(found.metadata or {})
    )


def _reach(address: str) -> None:
    """Raise UserError where nothing listens: Ray's client would wait for minutes."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((host, port), timeout=REACH_S).close()
    except (OSError, ValueError) as error:
        raise UserError(f"address: {address} cannot be reached: {error}; is it the cluster's dashboard?") from error


@contextlib.contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    set_aside = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(set_aside)


@contextlib.contextmanager
def _plainly(address: str) -> Iterator[None]:
    """Turn what Ray's client raises into a line for people."""
    from ray.exceptions import AuthenticationError

    shown = masked(address)
    try:
        yield
    except AuthenticationError as error:
        if "Authentication failed" in str(error):
            raise UserError(f"address: {shown} refuses this token; {TOKEN}") from error
        if "cannot be opened" in str(error):
            path = os.environ.get("RAY_AUTH_TOKEN_PATH")
            raise UserError(f"RAY_AUTH_TOKEN_PATH: {path}: it cannot be read or is empty") from error
        raise UserError(f"address: {shown} wants a token; {TOKEN}") from error
    except RuntimeError as error:
        said = " ".join(str(error).split())
        if "already exists" in said:
            raise DuplicateJob(said[:200]) from error
        if "ray[default]" in said:
            raise UserError("Ray's Jobs client is not installed here: pip install 'bptt[cluster]'") from error
        if "returned 404" in said:
            raise UserError(f"address: {shown} is no Ray dashboard; it is at http://head:8265 by default") from error
        raise BpttError(f"address: {shown}: {said[:300]}") from error
    except (OSError, ValueError, KeyError) as error:  # requests' own errors are OSErrors
        said = " ".join(str(error).split())[:200]
        raise UserError(f"address: {shown} does not answer as a Ray dashboard does: {said}") from error
