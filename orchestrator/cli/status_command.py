"""`bptt status`: how a sweep stands, from any terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import click

from orchestrator.cli.options import as_json, existing_ledger, find_sweep, flags_given, with_settings
from orchestrator.cli.sparkline import best_so_far, sparkline
from orchestrator.cli.terminal import print_page, rendered
from orchestrator.pages import Block, Facts, Heading, Table
from orchestrator.patience import PATIENCE_S
from orchestrator.settings import Settings
from orchestrator.spec import trials_allowed
from orchestrator.standing import Standing, driver_of, standing
from orchestrator.trial import TrialState
from orchestrator.wording import count, duration, number, setting, states

EPILOG = """\b
Examples:
  bptt status demo
  bptt status sweep.yaml --watch     until it ends
  bptt status demo --json            with --watch, one line of JSON whenever something changed
"""
REFRESH_S = 2.0


@click.command("status", epilog=EPILOG, short_help="Show how a sweep stands.")
@click.argument("sweep", metavar="SWEEP")
@click.option("--watch", is_flag=True, help="Go on showing it until nobody runs it any more.")
@as_json
@with_settings
def command(settings: Settings, sweep: str, watch: bool, as_json: bool) -> None:
    """Show how SWEEP, a name or a sweep file, stands."""
    ledger = existing_ledger(settings, patience_s=PATIENCE_S if watch else 0.0)
    name = find_sweep(ledger, sweep).name

    def look() -> Standing:
        return standing(ledger, ledger.sweep(name))

    if not watch:
        show(look(), as_json=as_json)
    elif as_json or not sys.stdout.isatty():
        watch_in_lines(look, as_json=as_json)
    else:
        watch_on_screen(look)


def show(seen: Standing, *, as_json: bool) -> None:
    """Print how the sweep stands, once."""
    if as_json:
        click.echo(json.dumps(seen.plain()))
    else:
        print_page(page_of(seen, flags_given()))


def watch_in_lines(look: Callable[[], Standing], *, as_json: bool, pause: Callable[[float], None] = time.sleep) -> None:
    """Print a line whenever something changed, until nobody runs the sweep."""
    before = ""
    while True:
        seen = look()
        line = summary(seen)
        if line != before:
            click.echo(json.dumps(seen.plain()) if as_json else line)
            before = line
        if not seen.row.is_driven:
            return
        pause(REFRESH_S)


def watch_on_screen(look: Callable[[], Standing]) -> None:
    """Redraw the page until nobody runs the sweep, and leave the last one standing."""
    from rich.live import Live

    flags = flags_given()
    with Live(auto_refresh=False) as live:
        while True:
            seen = look()
            live.update(rendered(page_of(seen, flags)), refresh=True)
            if not seen.row.is_driven:
                return
            time.sleep(REFRESH_S)


def summary(seen: Standing) -> str:
    """Return the standing on one line."""
    best = f"; best {seen.metric} {number(seen.best.value(seen.metric))}" if seen.best else ""
    evaluations = sum(len(trial.evaluations) for trial in seen.trials)
    by_state = states(seen.trials, driven=seen.row.is_driven)
    return (
        f"{seen.row.name} {seen.state}: {seen.ended}/{trials_allowed(seen.spec)} trials ended ({by_state}), "
        f"{count(evaluations, 'evaluation')}{best}"
    )


def page_of(seen: Standing, flags: str = "") -> list[Block]:
    """Return the whole standing."""
    row, budget = seen.row, seen.spec.budget
    hours = "" if budget.hours is None else f" of {budget.hours:g} h"
    facts = [
        ("state", state(seen, flags)),
        (
            "trials",
            f"{seen.ended} of {trials_allowed(seen.spec)} ended: {states(seen.trials, driven=seen.row.is_driven)}",
        ),
        ("run for", f"{duration(row.elapsed_s)}{hours}, begun {duration(time.time() - row.created)} ago"),
    ]
    if seen.best is not None:
        facts.append(("best", f"{seen.metric} {number(seen.best.value(seen.metric))}, trial {seen.best.number}"))
        facts.append(("", setting(seen.best.chosen)))
        values = best_so_far(seen.trials, seen.metric, seen.spec.objective.direction)
        if line := sparkline(values, width=40, encoding=sys.stdout.encoding or "ascii"):
            facts.append(("", f"{line} by trial"))
    facts += [("wanted" if index == 0 else "", line) for index, line in enumerate(seen.wanted)]
    if row.model:
        facts.append(("model", row.model))
    page: list[Block] = [Heading(f"{row.name}: {seen.spec.workload.kind}"), Facts(facts)]
    if any(trial.state is not TrialState.PAUSED for trial in seen.under_way):
        page.append(under_way(seen))
    return page


def state(seen: Standing, flags: str) -> str:
    """Return the state with who runs the sweep, or what to do about it."""
    row = seen.row
    if row.is_driven:
        host, pid = driver_of(row)
        job = f", job {seen.job['job']} at {seen.job['address']}" if seen.job else ""
        return f"running, by process {pid} on {host}{job}" + (", asked to stop" if row.stop_requested else "")
    message = f" ({row.message})" if row.message not in ("", row.state) else ""
    advice = {
        "dead": f": its driver is gone; go on with `bptt resume {row.name}{flags}`",
        "interrupted": f": go on with `bptt resume {row.name}{flags}`",
        "finished": f": see `bptt report {row.name}{flags}`",
    }
    return f"{seen.state}{message}{advice.get(seen.state, '')}"


def under_way(seen: Standing) -> Table:
    """Return the trials that have begun and not ended, without those that are paused."""
    evaluations = seen.spec.budget.evaluations
    return Table(
        ("trial", "evaluations", seen.metric, "setting"),
        [
            (
                str(trial.number),
                f"{len(trial.evaluations)}/{evaluations}",
                number(trial.value(seen.metric)),
                setting(trial.chosen),
            )
            for trial in seen.under_way
            if trial.state is not TrialState.PAUSED
        ],
    )
