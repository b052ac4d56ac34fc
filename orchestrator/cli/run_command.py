"""`bptt run` and what it shares with `bptt resume`: driving a sweep in this terminal."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import as_json, cluster_options, flags_given, with_settings
from orchestrator.errors import Interrupted, UserError
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.sweep_file import find_spec

if TYPE_CHECKING:
    from orchestrator.driver import Outcome

EPILOG = """\b
Examples:
  bptt run demo                 a bundled sweep, by name
  bptt run sweep.yaml           your own; run it again to go on after a stop or a crash
  bptt run demo --in-process    without Ray, one trial at a time, for debugging

Ctrl-C waits for the evaluations under way and stops; a second one stops at once. Neither loses more than the
evaluation under way.
"""


def driving_options(command: Any) -> Any:
    """Add the options of the commands that drive a sweep."""
    command = cluster_options(command)
    for option in (
        as_json,
        click.option("--in-process", is_flag=True, help="Train in this process instead of on Ray."),
        click.option(
            "--address",
            metavar="ADDRESS",
            help="A running Ray cluster: HOST:PORT for a driver here, http://HOST:PORT to submit one to its dashboard.",
        ),
        click.option("--workers", type=click.IntRange(min=1), help="Trials at once, at most."),
    ):
        command = option(command)
    return command


@click.command("run", epilog=EPILOG, short_help="Run a sweep here, or go on with it.")
@click.argument("sweep", metavar="SWEEP")
@driving_options
@with_settings
def command(settings: Settings, sweep: str, **options: Any) -> int:
    """Run SWEEP, a sweep file or the name of a bundled sweep, or go on with it where it stopped."""
    return drive(settings, find_spec(sweep), **options)


def drive(
    settings: Settings, spec: SweepSpec, *, as_json: bool, in_process: bool, address: str | None, **submitting: Any
) -> int:
    """Run a sweep to its end while showing it, or submit it where `address` is a dashboard; return the exit status.

    `submitting` are the options of submit_command.Asked; a driver here minds `workers` alone.
    """
    from orchestrator.cli.live import show
    from orchestrator.driver import Driver
    from orchestrator.executors import make_executor
    from orchestrator.jobs.server import is_jobs_address
    from orchestrator.jobs.submission import DRIVEN_BY
    from orchestrator.report.html import figures_and_page
    from orchestrator.tracking import open_tracker

    if in_process and address:
        raise UserError("--in-process and --address exclude each other")
    address = address or settings.ray_address
    if is_jobs_address(address) and not in_process:
        from orchestrator.cli.submit_command import Asked, send

        return send(settings, spec, address, Asked(as_json=as_json, **submitting))
    if submitting.get("allow_local"):
        raise UserError("--allow-local: only where a sweep is submitted, to an address as http://head:8265")
    limit = submitting.get("workers") or spec.resources.workers
    executor = make_executor(address, workers=limit, in_process=in_process)
    place = (
        "starting in this process"
        if in_process
        else f"connecting to {'Ray here' if address == 'auto' else address}"
        if address
        else "starting Ray"
    )
    click.echo(f"{spec.name}: preparing the data and {place}", err=as_json)
    driver = Driver(settings, spec, executor=executor, tracker=open_tracker(settings, figures_and_page))
    try:
        with stopping_on_signals(driver), driver:
            if os.environ.get("BPTT_JOB"):
                click.echo(f"{spec.name}: {DRIVEN_BY} {driver.lease.owner}", err=as_json)
            show(driver, quiet=as_json)
    except KeyboardInterrupt as error:
        again = f"bptt resume {spec.name}{flags_given()}"
        raise Interrupted(f"{spec.name} stopped at once; go on with `{again}`") from error
    outcome = driver.outcome
    if outcome is None:
        raise RuntimeError("a driver that ran to its end has an outcome")
    if as_json:
        click.echo(json.dumps(summary(spec, outcome)))
    if outcome.state == "finished" and outcome.model is None and settings.tracking_uri != "none":
        return 1  # what was asked for includes a registered model
    return {"finished": 0, "interrupted": 130}.get(outcome.state, 1)


def summary(spec: SweepSpec, outcome: Outcome) -> dict[str, Any]:
    """Return what scripts are told at the end."""
    return {
        "name": spec.name,
        "state": outcome.state,
        "message": outcome.message,
        "best": outcome.best and outcome.best.summary(str(spec.objective.metric)),
        "model": outcome.model,
    }


@contextmanager
def stopping_on_signals(driver: Any) -> Iterator[None]:
    """Let the first Ctrl-C (or SIGTERM) end the sweep after the evaluations under way, and a second at once."""

    def first(number: int, _frame: object) -> None:
        if driver.sweep is None:  # nothing is under way that could be waited for
            raise KeyboardInterrupt
        driver.stop("interrupted")
        signal.signal(number, second)
        # click writes past whoever stands in for stderr, and would tear the live view.
        print("stopping after the evaluations under way; once more to stop at once", file=sys.stderr, flush=True)

    def second(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, first) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
