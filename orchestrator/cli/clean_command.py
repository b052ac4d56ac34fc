"""`bptt clean`: remove checkpoints that no sweep needs any more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import as_json, existing_ledger, with_settings
from orchestrator.cli.terminal import print_page
from orchestrator.errors import BpttError
from orchestrator.pages import Paragraph, Table
from orchestrator.settings import Keep, Settings
from orchestrator.wording import count

if TYPE_CHECKING:
    from orchestrator.checkpoints.cleaning import Heap
    from orchestrator.checkpoints.storage import StoredFile

EPILOG = """\b
Examples:
  bptt clean --dry-run             what would be removed, by sweep
  bptt clean demo                  of one sweep
  bptt clean --orphans             of sweeps too that the database does not know
  bptt clean demo --keep best      though it was run with BPTT_KEEP=all

A sweep keeps the last checkpoint of its best trial (with objective.cost: of those that no other beats) and the last two
of each unfinished trial; run with BPTT_KEEP=all, it keeps the last one of every trial. Superseded checkpoints are those
beyond that.
Orphans are files that no evaluation in the database points to. Of a sweep that is being driven only what was
superseded long ago is removed.
"""
HOUR_S = 3600.0


@click.command("clean", epilog=EPILOG, short_help="Remove checkpoints that no sweep needs.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Remove nothing; show what would be.")
@click.option("--orphans", is_flag=True, help="Also checkpoints of sweeps that the database does not know.")
@click.option(
    "--keep",
    type=click.Choice(["best", "all"]),
    help="Of which ended trials the last checkpoint stays, whatever each sweep was run with.",
)
@click.option(
    "--older-than",
    "hours",
    type=click.FloatRange(min=0),
    default=6.0,
    show_default=True,
    metavar="HOURS",
    help="Leave younger orphans alone: they may be on their way into the database.",
)
@as_json
@with_settings
def command(
    settings: Settings,
    names: tuple[str, ...],
    *,
    dry_run: bool,
    orphans: bool,
    keep: Keep | None,
    hours: float,
    as_json: bool,
) -> None:
    """Remove the checkpoints that no sweep needs, of all sweeps or of those named."""
    from orchestrator.checkpoints.cleaning import Rules, remove, sort_out
    from orchestrator.checkpoints.storage import CheckpointStorage

    ledger, storage = existing_ledger(settings), CheckpointStorage(settings.checkpoints)
    try:
        heaps = sort_out(ledger, storage, names, Rules(keep, hours * HOUR_S))
    except OSError as error:
        raise BpttError(f"checkpoints: {settings.checkpoints}: {error}") from error
    files = [file for heap in heaps for file in heap.removable(unknown=orphans)]
    gone = [] if dry_run else remove(storage, files)
    if as_json:
        click.echo(json.dumps([heap.plain(unknown=orphans) | {"removed": removed(heap, gone)} for heap in heaps]))
    else:
        show(heaps, files, gone, dry_run=dry_run)
    if not dry_run and len(gone) < len(files):
        raise BpttError(f"checkpoints: {count(len(files) - len(gone), 'file')} could not be removed; try again later")


def removed(heap: Heap, gone: Sequence[StoredFile]) -> dict[str, int]:
    """Return number and bytes of what was removed of a sweep."""
    from orchestrator.checkpoints.cleaning import measured

    return measured([file for file in gone if file.name.partition("/")[0] == heap.sweep])


def show(heaps: Sequence[Heap], files: Sequence[StoredFile], gone: Sequence[StoredFile], *, dry_run: bool) -> None:
    """Print a line for each sweep, and the sum."""
    if heaps:
        rows = [
            (heap.sweep, heap.state, *map(in_words, (heap.superseded, heap.orphans, heap.kept)), heap.note)
            for heap in heaps
        ]
        print_page([Table(("sweep", "state", "superseded", "orphans", "kept", ""), rows)])
    done = f"would remove {in_words(files)}" if dry_run else f"removed {in_words(gone)}"
    print_page([Paragraph(done if files else "nothing to remove")])


def in_words(files: Sequence[StoredFile]) -> str:
    """Return number and size: `3 files, 1.2 MB`; a dash for none."""
    return f"{count(len(files), 'file')}, {size(sum(file.size_bytes for file in files))}" if files else "-"


def size(amount: int) -> str:
    """Return bytes in words: `512 B`, `3.4 kB`, `340 MB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if amount >= factor:
            return f"{amount / factor:.3g} {unit}"
    return f"{amount} B"
