"""`bptt list`: the sweeps there are."""

from __future__ import annotations

import json
import time

import click

from orchestrator.cli.options import as_json, existing_ledger, shown_url, with_settings
from orchestrator.cli.terminal import print_page
from orchestrator.database.ledger import Ledger, SweepRow
from orchestrator.errors import SpecError, SweepNotFound
from orchestrator.pages import Paragraph, Table
from orchestrator.settings import Settings
from orchestrator.wording import duration, number

EPILOG = """\b
Examples:
  bptt list
  bptt list --json | jq -r '.[] | select(.state == "interrupted") | .name'

States: running; interrupted (it can go on with `bptt resume`); finished; failed; dead (its driver is gone without a
word, and it can go on with `bptt resume`).
"""
COLUMNS = ("name", "workload", "state", "trials", "metric", "best", "created")


@click.command("list", epilog=EPILOG, short_help="List the sweeps there are.")
@as_json
@with_settings
def command(settings: Settings, as_json: bool) -> None:
    """List the sweeps in the database, the oldest first."""
    try:
        ledger = existing_ledger(settings)
        rows = ledger.all()
    except SweepNotFound:
        rows = []
    if as_json:
        click.echo(json.dumps([entry(ledger, row) for row in rows]))
    elif not rows:
        print_page([Paragraph(f"There are no sweeps in {shown_url(settings)} yet. Try `bptt run demo`.")])
    else:
        print_page([Table(COLUMNS, [cells(entry(ledger, row)) for row in rows])])


def entry(ledger: Ledger, row: SweepRow) -> dict[str, object]:
    """Return one sweep as plain values; a spec that can no longer be read leaves what the row itself knows."""
    from orchestrator.standing import standing, state_of

    try:
        return standing(ledger, row).plain()
    except SpecError as error:
        return {"name": row.name, "state": state_of(row), "created": row.created, "message": str(error)}


def cells(plain: dict) -> list[str]:  # type: ignore[type-arg]
    """Return one sweep's line of the table."""
    trials, best = plain.get("trials"), plain.get("best")
    return [
        plain["name"],
        plain.get("workload", "-"),
        plain["state"],
        f"{trials['ended']}/{plain['budget']['trials']}" if trials else "-",
        plain.get("metric", "-"),
        number(best["value"]) if best else "-",
        f"{duration(time.time() - plain['created'])} ago",
    ]
