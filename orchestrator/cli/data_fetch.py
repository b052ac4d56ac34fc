"""What `bptt data fetch` shows: a bar on a terminal, and plain lines in a pipe."""

from __future__ import annotations

import json
import shlex
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from orchestrator.errors import BpttError, Interrupted, UserError
from orchestrator.presence import presence
from workloads.data.catalogue import Entry, data_root
from workloads.data.download import Downloader, FetchError, PlaceError
from workloads.data.fetch import Fetch, Found, examine

LINES_EVERY_S = 5.0


def fetch(entry: Entry, *, force: bool, any_version: bool, as_json: bool) -> None:
    """Fetch `entry` and say what was done; UserError where the user has to do something, else BpttError."""
    if entry.download is None:
        carried(entry, as_json)
        return
    view = FetchView(entry.name, as_json=as_json)
    flags = f"{' --force' if force else ''}{' --any-version' if any_version else ''}"
    wanted = Fetch(entry, data_root(), Downloader(told=view.told), any_version=any_version, waiting=view.waiting)
    try:
        with view.shown():
            fetched = wanted.run(force=force)
        found = examine(entry, data_root())
    except PlaceError as error:
        raise UserError(str(error)) from error
    except FetchError as error:
        raise BpttError(str(error)) from error
    except KeyboardInterrupt as error:
        again = f"bptt data fetch {shlex.quote(entry.name)}{flags}"
        raise Interrupted(
            f"interrupted; what came is kept, and `{again}` goes on from there where the server can"
        ) from error
    if found is None:
        raise BpttError(f"{wanted.path} was removed meanwhile")
    report(wanted, found, fetched=fetched, as_json=as_json)


def carried(entry: Entry, as_json: bool) -> None:
    """Speak of data that come with Python or a package; UserError where the package is missing."""
    found = presence(entry)
    if not found.here:
        raise UserError(f"{entry.name} is not downloaded: {found.place}")
    if as_json:
        click.echo(json.dumps({"name": entry.name, "outcome": "carried", "place": found.place}))
    else:
        click.echo(f"{entry.name} is here, {found.place}; there is nothing to fetch")


def report(wanted: Fetch, found: Found, *, fetched: bool, as_json: bool) -> None:
    """Say what lies in the place now."""
    entry, place = wanted.entry, str(wanted.path.absolute())
    if as_json:
        facts = {"name": entry.name, "outcome": "fetched" if fetched else "already here", "place": place}
        click.echo(
            json.dumps(
                {**facts, "files": found.count, "bytes": found.size, "sha256": found.sha256, "verified": found.pinned}
            )
        )
        return
    checked = "verified" if found.pinned else "another version than the one pinned, NOT verified"
    what = f"{found.count:,} files, " if entry.folder else ""
    click.echo(f"{entry.name}{' fetched' if fetched else ' is already here'}: {what}{found.size:,} bytes, {checked}")
    click.echo(f"in {place}")
    click.echo(f"licence: {entry.licence}; please name {entry.attribution}")


class FetchView:
    """Shows how a download gets on: nothing with `--json`, a bar on a terminal, else a line from time to time."""

    def __init__(self, name: str, *, as_json: bool) -> None:
        self.name, self.as_json = name, as_json
        console = Console(stderr=True)
        self.bar = None if as_json or not console.is_terminal else bar(console)
        self.task = self.bar.add_task(name, total=None, visible=False) if self.bar else None
        self.spoke = 0.0

    def shown(self) -> AbstractContextManager[Any]:
        """Return the context in which the bar is on the screen."""
        return self.bar if self.bar is not None else nullcontext()

    def told(self, done: int, total: int | None) -> None:
        """Show how far the download is."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=done, total=total, visible=True)
        elif not self.as_json and (time.monotonic() - self.spoke >= LINES_EVERY_S or done == total):
            self.spoke = time.monotonic()
            of = f" of {total:,}" if total is not None else ""
            click.echo(f"{self.name}: {done:,}{of} bytes")

    def waiting(self) -> None:
        """Say that another process fetches the same."""
        click.echo(f"another process is fetching {self.name}; waiting for it", err=True)


def bar(console: Console) -> Progress:
    """Return a bar of bytes, which is gone behind its end."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)
