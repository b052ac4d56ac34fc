"""`bptt logs`: what the driver of a submitted sweep says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import find_sweep, with_settings
from orchestrator.cli.submit_command import visible_ledger
from orchestrator.errors import SpecError, SweepNotFound, UserError
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.jobs.server import JobsServer

EPILOG = """\b
Examples:
  bptt logs NAME                               all lines so far
  bptt logs NAME -f                            and those to come, until the job ends
  bptt logs NAME --address http://head:8265    where the database does not know the cluster, or it has moved
"""


@click.command("logs", epilog=EPILOG, short_help="Show what the driver of a submitted sweep says.")
@click.argument("sweep", metavar="SWEEP")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job ends.")
@click.option("--address", metavar="URL", help="Dashboard of its cluster.  [default: as the database knows it]")
@with_settings
def command(settings: Settings, sweep: str, follow: bool, address: str | None) -> None:
    """Show the lines of the driver of SWEEP, a name or a sweep file, which runs as a job on a cluster."""
    from orchestrator.jobs.server import JobsServer
    from orchestrator.jobs.submission import ON_KUBERNETES

    name, known_address, job = whereabouts(settings, sweep)
    if not address and known_address.startswith(ON_KUBERNETES):
        raise UserError(
            f"{name}: it is driven on Kubernetes, by RayJob {known_address.removeprefix(ON_KUBERNETES)}; "
            f"`bptt k8s logs {name}` shows its lines"
        )
    address = address or known_address
    if not address:
        raise UserError(
            f"--address: missing; no cluster is known to run {name}: give its dashboard, as http://head:8265"
        )
    server = JobsServer(address)
    job = find_job(server, name, job)
    if not follow:
        click.echo(server.lines(job), nl=False)
        return
    for piece in server.follow(job):
        click.echo(piece, nl=False)


def whereabouts(settings: Settings, sweep: str) -> tuple[str, str, str]:
    """Return a sweep's name, and address and job of its driver, as far as they are known here."""
    from orchestrator.jobs.server import is_jobs_address
    from orchestrator.spec import NAME
    from orchestrator.sweep_file import find_name

    default = settings.ray_address if is_jobs_address(settings.ray_address) else ""
    ledger = visible_ledger(settings)
    if ledger is not None:
        try:
            name = find_sweep(ledger, sweep).name
        except SweepNotFound:
            pass
        else:
            driver = ledger.driver(name)
            return (name, driver.address or default, driver.job) if driver is not None else (name, default, "")
    try:
        return find_name(sweep), default, ""
    except SpecError:
        if not re.match(NAME, sweep):
            raise
        return sweep, default, ""


def find_job(server: JobsServer, name: str, job: str) -> str:
    """Return the sweep's latest job on the cluster; UserError where there is none."""
    from orchestrator.jobs.submission import jobs_of

    found = jobs_of(server, name)
    if job and job in {each.name for each in found.values()}:
        return job
    if not found:
        raise UserError(f"{name}: no job of this sweep is known at {server.address}; see `bptt submit`")
    return found[max(found)].name
