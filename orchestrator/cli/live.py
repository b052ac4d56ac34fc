"""What `bptt run` shows while it drives a sweep: a live view in a terminal, lines in a pipe."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import click
from rich.console import Console
from rich.text import Text

from orchestrator.cli.lines import Lines, conclusion
from orchestrator.cli.options import flags_given
from orchestrator.cli.screen import Screen
from orchestrator.driver import Driver
from orchestrator.event import Event


class View(Protocol):
    """Shows a sweep's events."""

    def take(self, event: Event) -> None:
        """Show one event."""


def show(driver: Driver, *, quiet: bool) -> None:
    """Drive the sweep to its end while showing it; with `quiet`, stdout stays free and lines go to stderr."""
    sweep = driver.sweep
    if sweep is None:
        raise RuntimeError("the driver is entered before it is shown")
    for note in driver.notes:
        click.echo(f"{driver.spec.name}: {note}", err=quiet)
    watch = "" if driver.settings.tracking_uri == "none" else f"bptt ui{flags_given()}"
    console = Console(stderr=quiet, highlight=False)
    view: View
    shown: AbstractContextManager[object]
    if console.is_interactive and not quiet:
        screen = Screen(sweep, console, watch=watch)
        view, shown = screen, screen.live()
    else:
        view, shown = Lines(sweep, lambda line: click.echo(line, err=quiet)), nullcontext()
    with shown:
        for event in driver.run():
            view.take(event)
    if driver.outcome is not None:
        for line in conclusion(sweep, driver.outcome, watch):
            # Indented lines are details of the ones before.
            console.print(Text(line, style="" if line.startswith(" ") else "bold"), soft_wrap=True)
