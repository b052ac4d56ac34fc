"""`bptt narrow`: search only a part of a sweep's space from now on."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.assignments import read_scalar, split_assignments
from orchestrator.cli.options import as_json, existing_ledger, find_sweep, with_settings
from orchestrator.cli.wishing import tell, want
from orchestrator.database.wishes import WishKind
from orchestrator.settings import Settings

EPILOG = """\b
Examples:
  bptt narrow demo hidden_size=64..128
  bptt narrow demo cell_type=gru,lstm truncation_length=16..64

Trials that were begun stay, and those inside the narrower space teach the sampler still. A space cannot be made
wider; that is a new sweep.
"""


@click.command("narrow", epilog=EPILOG, short_help="Search a smaller space from now on.")
@click.argument("sweep", metavar="SWEEP")
@click.argument("ranges", metavar="NAME=LOW..HIGH|NAME=CHOICE,...", nargs=-1, required=True)
@as_json
@with_settings
def command(settings: Settings, sweep: str, ranges: tuple[str, ...], as_json: bool) -> None:
    """Narrow the space of SWEEP, a name or a sweep file, running or not: ranges inside those it has, fewer choices."""
    ledger = existing_ledger(settings)
    name = find_sweep(ledger, sweep).name
    space = {key: read_range(text) for key, text in split_assignments(ranges, option="").items()}
    tell(ledger, name, want(ledger, name, WishKind.NARROW, {"space": space}), as_json=as_json)


def read_range(text: str) -> dict[str, list[Any]]:
    """Return `64..128` as a range and `gru,lstm` as choices."""
    low, dots, high = text.partition("..")
    if dots:
        return {"range": [read_scalar(low), read_scalar(high)]}
    return {"choice": [read_scalar(value.strip()) for value in text.split(",")]}
