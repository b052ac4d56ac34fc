"""`bptt drive`: what a submitted job runs, in the folder that travelled. Not for typing; `bptt --help` hides it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import click

from orchestrator.cli.run_command import drive
from orchestrator.errors import BpttError, SweepHeld, SweepNotFound, UserError
from orchestrator.jobs.parcel import SPEC_FILE, SUBMISSION_FILE, Submission
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, spec_from
from orchestrator.sweep_file import find_spec

STOPPING_S = 30.0
"""Time after which a job that asked to be stopped has been."""


@click.command("drive", hidden=True)
@click.option("--supervise", is_flag=True, help="Drive in a child process, and start it again when it dies.")
@click.option("--again", is_flag=True, help="A driver before this one died: go on as the database knows the sweep.")
@click.option(
    "--retried",
    is_flag=True,
    help="Whoever runs this job runs it again when it fails: no failure where that is no use.",
)
def command(supervise: bool, again: bool, retried: bool) -> int:
    """Drive the sweep that was submitted, on the cluster that runs this job."""
    try:
        submission, spec = received(Path())
        settings = submission.load(os.environ)
    except UserError as error:
        if not retried:
            raise
        click.echo(f"bptt: {error}", err=True)
        return refuse()
    if supervise:
        from orchestrator.jobs.supervisor import INSIST_AFTER_S, REFUSED, can_go_on, looking
        from orchestrator.jobs.supervisor import supervise as keep_driven

        if retried and is_to_stay_stopped(settings.study_url, spec.name):
            click.echo(f"{spec.name} was asked to stop before its driver was lost; go on with it by another job")
            return 0
        driver = [sys.executable, "-m", "orchestrator.cli", "drive"]
        status = keep_driven(spec.name, settings.study_url, driver, insist_after_s=INSIST_AFTER_S)
        if retried and status == REFUSED:
            return refuse()
        seen = looking(settings.study_url, spec.name)()
        # Stopped as asked, or failed for good; another driver that holds it may be about to end.
        is_over = seen is not None and not seen.is_driven and not can_go_on(seen)
        return 0 if retried and is_over else status
    if again:
        spec = as_known(settings, spec)
    try:
        return drive(
            settings, spec, as_json=False, in_process=False, address=settings.ray_address, workers=submission.workers
        )
    except SweepHeld as error:
        if not again:
            raise
        click.echo(f"{error}; this driver is not needed")
        return 0


def refuse() -> int:
    """End this job so that nobody runs it again: as stopped, which KubeRay takes for an end, and not for a failure.

    Why has been said. Returns the exit status for where the job cannot be stopped: no failure either.
    """
    from orchestrator.jobs.server import ON_THE_HEAD, JobsServer

    click.echo("refused: running this job again would not help", err=True)
    try:
        JobsServer(ON_THE_HEAD).stop(os.environ["BPTT_JOB"])
    except (BpttError, KeyError) as error:
        click.echo(f"the job ends as if all were well, since it could not be stopped: {error}", err=True)
        return 0
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(STOPPING_S)
    return 0


def is_to_stay_stopped(study_url: str, name: str) -> bool:
    """Tell whether the sweep's driver was lost with a request to stop; it is stopped then."""
    from orchestrator.database.lease import lay_down
    from orchestrator.database.ledger import Ledger

    ledger = Ledger(study_url)
    try:
        row = ledger.sweep(name)
        return row.state == "running" and row.stop_requested and lay_down(ledger, row)
    except (SweepNotFound, SweepHeld):
        return False


def received(folder: Path) -> tuple[Submission, SweepSpec]:
    """Return what travelled; UserError where this is no folder of a submitted job."""
    try:
        submission = Submission(**json.loads((folder / SUBMISSION_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError("drive: this is for jobs that `bptt submit` made; here, use `bptt run`") from error
    return submission, find_spec(str(folder / SPEC_FILE))


def as_known(settings: Settings, spec: SweepSpec) -> SweepSpec:
    """Return the sweep as the database has it: it may have been extended since it was submitted."""
    from orchestrator.database.ledger import Ledger

    try:
        return spec_from(Ledger(settings.study_url).sweep(spec.name).spec)
    except SweepNotFound:
        return spec
