"""`bptt submit`: run a sweep on a cluster, driver and all, and leave it to itself."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import as_json, cluster_options, existing_ledger, flags_given, with_settings
from orchestrator.database.patience import OPENING_S
from orchestrator.errors import BpttError, SpecError, SweepNotFound, UserError, masked
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, spec_from
from orchestrator.sweep_file import find_spec

if TYPE_CHECKING:
    from orchestrator.database.ledger import Ledger
    from orchestrator.jobs.server import JobsServer
    from orchestrator.jobs.submission import Beginning, Sent

EPILOG = """\b
Examples:
  bptt submit sweep.yaml --address http://head:8265
  bptt logs NAME -f                                   what its driver says
  bptt status NAME --watch                            how it stands, from the database

What travels: this project, the sweep file, modules of your own that it names, and files that its workload names by
paths relative to here. Where sweeps, metrics and checkpoints are kept, the variables BPTT_STUDY_URL,
BPTT_TRACKING_URI and BPTT_CHECKPOINTS of the cluster's nodes say. No secret travels. A cluster that wants a token:
RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH. Submitting again what runs already changes nothing.
"""


def sending_options(command: Any) -> Any:
    """Add the options that say how a sweep is sent to a cluster."""
    command = cluster_options(command)
    for option in (
        click.option("--no-wait", is_flag=True, help="Do not wait until the driver has begun."),
        click.option("--no-project", is_flag=True, help="The cluster's image has bptt: leave the project behind."),
    ):
        command = option(command)
    return command


@click.command("submit", epilog=EPILOG, short_help="Run a sweep on a cluster and leave it to itself.")
@click.argument("sweep", metavar="SWEEP")
@click.option("--address", metavar="URL", help="Dashboard of a Ray cluster.  [default: BPTT_RAY_ADDRESS]")
@click.option("--workers", type=click.IntRange(min=1), help="Trials at once, at most.")
@sending_options
@as_json
@with_settings
def command(settings: Settings, sweep: str, address: str | None, **options: Any) -> int:
    """Send SWEEP, a sweep file or the name of a sweep, to the Ray cluster whose dashboard is at URL."""
    from orchestrator.jobs.server import jobs_address

    address = address or settings.ray_address
    if not address:
        raise UserError("--address: missing; the dashboard of a Ray cluster is needed, as http://head:8265")
    return send(settings, spec_of(settings, sweep), jobs_address(address), Asked(**options))


def spec_of(settings: Settings, sweep: str) -> SweepSpec:
    """Return what a sweep file says, or the sweep of that name in the database."""
    try:
        return find_spec(sweep)
    except SpecError:
        ledger = visible_ledger(settings)
        if Path(sweep).is_file() or ledger is None or sweep not in {row.name for row in ledger.all()}:
            raise
        return spec_from(ledger.sweep(sweep).spec)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of sending a sweep, by the names of the options."""

    workers: int | None = None
    no_wait: bool = False
    allow_local: bool = False
    no_project: bool = False
    python: str = "python"
    as_json: bool = False
    known_as: str = ""
    """The cluster's address as others have it, where the one used here leads there from this terminal alone."""
    logs: str = ""
    """The command that shows what the driver says; empty where it is `bptt logs`."""


def send(settings: Settings, spec: SweepSpec, address: str, asked: Asked) -> int:
    """Submit a sweep and see that its driver begins; return the exit status."""
    from orchestrator.jobs.server import JobsServer
    from orchestrator.jobs.submission import Beginning, await_driver

    server = JobsServer(address)
    shown = asked.known_as or server.address
    logs = asked.logs or f"bptt logs {spec.name} -f --address {server.address}{flags_given()}"
    sent = submit_now(server, settings, spec, asked)

    def say(line: str) -> None:
        click.echo(masked(f"{spec.name}: {line}"), err=asked.as_json)  # the address may hold a password

    say(f"submitted to {shown} as job {sent.job}" if sent.is_new else already(sent, shown))
    beginning = Beginning("waiting")
    if sent.job and sent.is_new and not asked.no_wait:
        beginning = await_driver(server, spec.name, sent.job, open_ledger=lambda: visible_ledger(settings), say=say)
    for line in told(beginning, spec.name, sent, f"`{logs}`", settings):
        say(line)
    if asked.as_json:
        plain = {"name": spec.name, "job": sent.job, "address": masked(shown), "submitted": sent.is_new}
        click.echo(json.dumps({**plain, "state": beginning.state}))
    return beginning.exit_status


def visible_ledger(settings: Settings) -> Ledger | None:
    """Return the sweeps' database where there is one to be seen from here."""
    with contextlib.suppress(SweepNotFound):
        return existing_ledger(settings, patience_s=OPENING_S)
    return None


def already(sent: Sent, address: str) -> str:
    """Return why nothing was submitted."""
    where = f" (job {sent.job})" if sent.job else ""
    return f"not submitted to {address} again: {sent.why}{where}"


def told(beginning: Beginning, name: str, sent: Sent, logs: str, settings: Settings) -> list[str]:
    """Return what a user wants to know once the job is on its way."""
    from orchestrator.cli.options import shown_url

    watch = f"`bptt status {name} --watch{flags_given()}`"
    match beginning.state:
        case "driven":
            return [f"its driver runs on the cluster; watch it with {watch} or {logs}"]
        case "driven elsewhere":
            return [
                f"its driver runs, but on another database than this terminal's ({shown_url(settings)}); set "
                f"BPTT_STUDY_URL to the cluster's to watch it from here, or use {logs}"
            ]
        case "succeeded":
            return [f"job {sent.job} has come to its end; see {logs}"]
        case "waiting" if not sent.is_new:
            return [f"watch it with {watch}" + (f" or {logs}" if sent.job else "")]
        case "waiting":
            return [f"its driver has not begun yet; see {logs}"]
    return [f"job {sent.job} {beginning.state}" + (":" if beginning.lines else ""), *beginning.lines.splitlines()]


def submit_now(server: JobsServer, settings: Settings, spec: SweepSpec, asked: Asked) -> Sent:
    """Submit a sweep, unless it is driven already."""
    from orchestrator.jobs.parcel import Submission, travelling
    from orchestrator.jobs.submission import Sending, submit

    allow_local = asked.allow_local
    submission = Submission(travelling(settings, allow_local=allow_local), asked.workers, allow_local)
    sending = Sending(Path.cwd(), not asked.no_project, asked.python, asked.known_as)
    return submit(server, spec, submission=submission, sending=sending, ledger=visible_ledger(settings))


def submit_quietly(server: JobsServer, settings: Settings, spec: SweepSpec, asked: Asked) -> str:
    """Submit without waiting; return what happened in a line."""
    try:
        sent = submit_now(server, settings, spec, asked)
    except BpttError as error:
        return str(error)
    return f"submitted as job {sent.job}" if sent.is_new else already(sent, server.address)
