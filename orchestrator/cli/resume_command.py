"""`bptt resume`: go on with a sweep that is in the database, without its file."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.options import existing_ledger, find_sweep, with_settings
from orchestrator.cli.run_command import drive, driving_options
from orchestrator.settings import Settings
from orchestrator.spec import spec_from

EPILOG = """\b
Examples:
  bptt resume demo
  bptt resume demo --address head:6379    on a cluster, though it began here
"""


@click.command("resume", epilog=EPILOG, short_help="Go on with a sweep by its name.")
@click.argument("sweep", metavar="SWEEP")
@driving_options
@with_settings
def command(settings: Settings, sweep: str, **options: Any) -> int:
    """Go on with SWEEP, a name or a sweep file, as the database knows it: at the evaluation where it stopped."""
    row = find_sweep(existing_ledger(settings), sweep)
    return drive(settings, spec_from(row.spec), **options)
