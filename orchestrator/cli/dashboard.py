"""Optuna's own pages beside MLflow's, where the extra `dashboard` is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from orchestrator.cli.ui_command import address, end_group, next_free, wait_until_up
from orchestrator.errors import BpttError, UserError
from orchestrator.settings import Settings

SERVE = """
import os
from optuna_dashboard import run_server
run_server(os.environ["BPTT_STUDY_URL"], host=os.environ["DASHBOARD_HOST"], port=int(os.environ["DASHBOARD_PORT"]))
"""


def is_installed() -> bool:
    """Tell whether optuna-dashboard can be run."""
    return importlib.util.find_spec("optuna_dashboard") is not None


@contextmanager
def dashboard(settings: Settings, host: str, port: int, *, wanted: bool | None) -> Iterator[str | None]:
    """Run optuna-dashboard over the sweeps' database; yield its address, None where it is not run.

    Not `wanted` (None) is: if it is installed and there is a database. UserError where it is wanted and cannot be.
    """
    why_not = obstacle(settings)
    if wanted and why_not:
        raise UserError(f"--dashboard: {why_not}")
    if wanted is False or why_not:
        yield None
        return
    free = next_free(host, port + 1)
    if not free:
        raise UserError(f"--port: no port after {port} is free for optuna-dashboard; try --no-dashboard")
    # Not as arguments, which everyone on this machine can see: the URL may hold a password.
    given = {"BPTT_STUDY_URL": settings.study_url, "DASHBOARD_HOST": host, "DASHBOARD_PORT": str(free)}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            env={**os.environ, **given},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield page(process, address(host, free), log, wanted=bool(wanted))
        finally:
            end_group(process)


def page(process: subprocess.Popen[bytes], url: str, log: IO[bytes], *, wanted: bool) -> str | None:
    """Return the address once it answers; where it does not, None with a warning, or BpttError if it is `wanted`."""
    try:
        wait_until_up(process, url, log, name="optuna-dashboard", path="/dashboard/")
    except BpttError as error:
        if wanted:
            raise
        click.echo(f"{error}; going on without it", err=True)
        return None
    return f"{url}/dashboard/"


def obstacle(settings: Settings) -> str:
    """Say why there is no dashboard to show; empty where there is one."""
    from sqlalchemy import make_url

    url = make_url(settings.study_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        return f"there are no sweeps yet ({url.database} is missing)"
    if not is_installed():
        return "optuna-dashboard is not installed; pip install 'bptt[dashboard]'"
    return ""
