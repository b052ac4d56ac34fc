"""`bptt pin`: train a trial to its end, whatever the pruner says."""

from __future__ import annotations

import click

from orchestrator.cli.options import as_json, existing_ledger, find_sweep, with_settings
from orchestrator.cli.wishing import tell, want
from orchestrator.database.wishes import WishKind
from orchestrator.settings import Settings

EPILOG = """\b
Examples:
  bptt pin demo --trial 3

A paused trial goes on from its checkpoint. A trial that was pruned has ended; `bptt enqueue` tries its setting anew.
"""


@click.command("pin", epilog=EPILOG, short_help="Train a trial to its end, unpruned.")
@click.argument("sweep", metavar="SWEEP")
@click.option("--trial", type=click.IntRange(min=0), metavar="N", required=True, help="Its number.")
@as_json
@with_settings
def command(settings: Settings, sweep: str, trial: int, as_json: bool) -> None:
    """Keep a trial of SWEEP, a name or a sweep file, from being pruned or paused."""
    ledger = existing_ledger(settings)
    name = find_sweep(ledger, sweep).name
    tell(ledger, name, want(ledger, name, WishKind.PIN, {"trial": trial}), as_json=as_json)
