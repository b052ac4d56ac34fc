"""`bptt stop`: ask whoever runs a sweep to stop."""

from __future__ import annotations

import time

import click

from orchestrator.cli.options import existing_ledger, find_sweep, flags_given, with_settings
from orchestrator.settings import Settings

EPILOG = """\b
Examples:
  bptt stop demo
  bptt stop demo --wait && bptt extend demo --trials 10
"""
LOOK_EVERY_S = 0.5


@click.command("stop", epilog=EPILOG, short_help="Ask a running sweep to stop; it can go on later.")
@click.argument("sweep", metavar="SWEEP")
@click.option("--wait", is_flag=True, help="Return when it has stopped.")
@with_settings
def command(settings: Settings, sweep: str, wait: bool) -> None:
    """Ask the driver of SWEEP, a name or a sweep file, to stop after the evaluations under way."""
    from orchestrator.lease import lay_down
    from orchestrator.standing import driver_of, state_of

    ledger = existing_ledger(settings)
    row = find_sweep(ledger, sweep)
    again = f"go on with `bptt resume {row.name}{flags_given()}`"
    if not row.is_driven:
        state = state_of(row)
        until = "; until then nobody takes it up" if lay_down(ledger, row) else ""
        click.echo(f"{row.name} is not running: it is {state}" + ("" if state == "finished" else f"; {again}{until}"))
        return
    ledger.update(row.name, stop_requested=1)
    host, pid = driver_of(row)
    click.echo(f"asked process {pid} on {host} to stop {row.name} after the evaluations under way")
    if not wait:
        return
    while (row := ledger.sweep(row.name)).is_driven:
        time.sleep(LOOK_EVERY_S)
    click.echo(f"{row.name} has stopped ({state_of(row)}); {again}")
