"""`bptt stop`: ask whoever runs a sweep to stop."""

from __future__ import annotations

import time

import click

from orchestrator.cli.options import as_json, existing_ledger, find_sweep, flags_given, with_settings
from orchestrator.cli.wishing import tell, want
from orchestrator.database.wishes import WishKind
from orchestrator.errors import UserError
from orchestrator.settings import Settings

EPILOG = """\b
Examples:
  bptt stop demo
  bptt stop demo --wait
  bptt stop demo --trial 7     end a hopeless trial; its worker takes another
"""
LOOK_EVERY_S = 0.5


@click.command("stop", epilog=EPILOG, short_help="Ask a running sweep to stop, or end one trial.")
@click.argument("sweep", metavar="SWEEP")
@click.option("--wait", is_flag=True, help="Return when it has stopped.")
@click.option(
    "--trial", type=click.IntRange(min=0), metavar="N", help="End this trial alone, at once; the sweep goes on."
)
@as_json
@with_settings
def command(settings: Settings, sweep: str, wait: bool, trial: int | None, as_json: bool) -> None:
    """Ask the driver of SWEEP, a name or a sweep file, to stop after the evaluations under way; it can go on later."""
    from orchestrator.database.lease import lay_down
    from orchestrator.standing import driver_of, state_of

    ledger = existing_ledger(settings)
    row = find_sweep(ledger, sweep)
    if trial is not None:
        tell(ledger, row.name, want(ledger, row.name, WishKind.STOP, {"trial": trial}), as_json=as_json)
        return
    if as_json:
        raise UserError("--json is for --trial; `bptt status --json` says how the sweep stands")
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
