"""`bptt ui`: the MLflow UI on the right stores, and nothing left behind when it is closed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO

import click

from orchestrator.cli.options import existing_ledger, find_sweep, flags_given, with_settings
from orchestrator.errors import BpttError, UserError, masked
from orchestrator.settings import Settings
from orchestrator.tracking.client import is_database, sqlite_file
from orchestrator.tracking.places import EXPERIMENTS, newest_runs, sweep_run

EPILOG = """\b
Examples:
  bptt ui                                  the runs under ./bptt-runs, in a browser
  bptt ui demo                             opens on one sweep
  bptt ui --port 5050 --no-browser
  bptt ui --tracking-uri http://mlflow:5000   open a server that runs already
  bptt ui --no-dashboard                   MLflow alone

With the extra `dashboard` (pip install 'bptt[dashboard]'), optuna-dashboard runs beside it on the next free port.
Ctrl-C closes both.
"""

STARTING_S = 120.0
"""The server takes some seconds to load; on a busy machine many more."""
STOPPING_S = 10.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command("ui", epilog=EPILOG, short_help="Open the MLflow UI on the right databases.")
@click.argument("sweep", metavar="[SWEEP]", required=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="The port to listen on.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option("--dashboard/--no-dashboard", default=None, help="Run optuna-dashboard too.  [default: if installed]")
@with_settings
def command(
    settings: Settings, sweep: str | None, host: str, port: int, *, no_browser: bool, dashboard: bool | None
) -> None:
    """Serve the MLflow UI over the runs' database until Ctrl-C; with a tracking server, open that instead.

    It opens on SWEEP, a name or a sweep file; without one on the runs of the workload that was swept last.
    """
    uri = settings.tracking_uri
    if uri.startswith(("http://", "https://")):
        page = uri.rstrip("/") + (EXPERIMENTS if sweep is None else path_of(settings, sweep))
        click.echo(f"MLflow is at {masked(page)}")
        visit(page, no_browser)
        return
    check_database(settings)
    check_port(host, port)
    path = path_of(settings, sweep)
    with closed_by_signals(), beside(settings, host, port, wanted=dashboard) as other:
        serve(settings, (host, port), path, other=other, no_browser=no_browser)


def path_of(settings: Settings, sweep: str | None) -> str:
    """Return the path behind the UI's address to what is asked for; UserError where MLflow has no such sweep."""
    if sweep is None:
        return newest_runs(settings)
    name = find_sweep(existing_ledger(settings), sweep).name
    if found := sweep_run(settings, name):
        return found
    raise UserError(f"MLflow has no run of the sweep {name!r}: was it run without tracking, or with another MLflow?")


def beside(settings: Settings, host: str, port: int, *, wanted: bool | None) -> AbstractContextManager[str | None]:
    """Run optuna-dashboard for as long as the block; see there."""
    from orchestrator.cli.dashboard import dashboard

    return dashboard(settings, host, port, wanted=wanted)


def serve(settings: Settings, place: tuple[str, int], path: str, *, other: str | None, no_browser: bool) -> None:
    """Serve the MLflow UI until it is closed; `place` is a host and a port, `other` is where optuna-dashboard is."""
    host, port = place
    url = address(host, port)
    with tempfile.TemporaryFile() as log, server(settings, host, port, log) as process:
        click.echo("starting the MLflow UI ...", err=True)
        wait_until_up(process, url, log)
        click.echo(f"MLflow UI at {url}{path} on {shown(settings.tracking_uri)}; Ctrl-C closes it")
        if other is not None:
            click.echo(f"optuna-dashboard at {other} on {shown(settings.study_url)}; what is deleted there is gone")
        if host not in LOOPBACK:
            click.echo(f"--host {host}: whoever reaches this machine can read and change all runs", err=True)
        visit(url + path, no_browser)
        process.wait()
        raise BpttError(f"the MLflow server ended by itself: {last_line(log)}")


def address(host: str, port: int) -> str:
    """Return where a browser on this machine finds a server that listens there."""
    place = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{place}]:{port}" if ":" in place else f"http://{place}:{port}"


def shown(uri: str) -> str:
    """Return a database's URL without its password."""
    from sqlalchemy import make_url

    return make_url(uri).render_as_string(hide_password=True)


def check_database(settings: Settings) -> None:
    """Raise UserError where there is no database to show."""
    uri = settings.tracking_uri
    if uri == "none":
        raise UserError("tracking is switched off (tracking URI `none`): there is nothing to show")
    if not is_database(settings):
        raise UserError(f"--tracking-uri: {uri!r}; a database (sqlite:///...) or a server (http://...) is needed")
    file = sqlite_file(settings)
    if file is not None and not file.is_file():
        raise UserError(f"there are no runs yet ({file} is missing); run a sweep first: bptt run demo{flags_given()}")


def check_port(host: str, port: int) -> None:
    """Raise UserError where nothing can listen there, naming another port where this one is taken."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise UserError(f"--host: {host!r} is no address of this machine: {error.strerror}") from error
    if is_free(family, host, port):
        return
    other = next_free(host, port + 1) or "another one"
    raise UserError(f"--port: nothing can listen on {host}:{port} (taken?); try --port {other}")


def next_free(host: str, first: int) -> int:
    """Return the first port from `first` on that a server could listen on; 0 where none of the next 100 is one."""
    family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
    return next((port for port in range(first, min(first + 100, 65536)) if is_free(family, host, port)), 0)


def is_free(family: int, host: str, port: int) -> bool:
    """Tell whether a server could listen on a port now."""
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        # As servers do, so that connections closed a moment ago do not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True


@contextmanager
def closed_by_signals() -> Iterator[None]:
    """Make Ctrl-C and SIGTERM the ordinary way to end the block."""

    def close(_number: int, _frame: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)  # the server is being ended; a second Ctrl-C would leave it half so
        raise KeyboardInterrupt

    before = {number: signal.signal(number, close) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def server(settings: Settings, host: str, port: int, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run the MLflow server in a process group of its own, and end the whole group behind the block."""
    arguments = ["--host", host, "--port", str(port), "--workers", "1"]
    # Not as arguments, which everyone on this machine can see: URLs may hold passwords.
    stores = {
        "MLFLOW_BACKEND_STORE_URI": settings.tracking_uri,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": settings.artifacts,
        "MLFLOW_ARTIFACTS_DESTINATION": settings.artifacts,
    }
    quiet = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *arguments],
        env={**os.environ, **quiet, **stores},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and all it started: kindly first, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(STOPPING_S)
    process.wait()


def wait_until_up(
    process: subprocess.Popen[bytes],
    url: str,
    log: IO[bytes],
    *,
    name: str = "the MLflow server",
    path: str = "/health",
) -> None:
    """Return once the server answers; BpttError where it ended or took too long."""
    deadline = time.monotonic() + STARTING_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BpttError(f"{name} did not start: {last_line(log)}")
        # An answer other than 200 is an HTTPError, and that an OSError.
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}{path}", timeout=2):
            return
        time.sleep(0.2)
    raise BpttError(f"{name} did not answer within {STARTING_S:g} s: {last_line(log)}")


def last_line(log: IO[bytes]) -> str:
    """Return the end of what the server had to say."""
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it said nothing"


def visit(url: str, no_browser: bool) -> None:
    """Open the user's browser where there is a user to look."""
    if not no_browser and sys.stdout.isatty():
        webbrowser.open(url)
