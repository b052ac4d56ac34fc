"""`bptt status`: how a sweep stands, from any terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import as_json, existing_ledger, find_sweep, flags_given, with_settings
from orchestrator.cli.sparkline import best_so_far, sparkline
from orchestrator.database.patience import PATIENCE_S
from orchestrator.pages import Block, Facts, Heading, Table, plain
from orchestrator.settings import Settings
from orchestrator.spec import trials_allowed
from orchestrator.standing import LAST_ENDED, Standing, driver_of, last_ended, standing
from orchestrator.trial import TrialState
from orchestrator.wording import count, duration, ending, number, setting, so_far, states

if TYPE_CHECKING:
    from rich.console import RenderableType

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
    elif as_json or not is_interactive():
        watch_in_lines(look, as_json=as_json)
    else:
        watch_on_screen(look)


def is_interactive() -> bool:
    """Tell whether stdout is a terminal on which what was written can be written over."""
    from rich.console import Console

    return Console().is_interactive


def show(seen: Standing, *, as_json: bool) -> None:
    """Print how the sweep stands, once."""
    from rich.console import Console

    console = Console(highlight=False)
    if as_json:
        click.echo(json.dumps(seen.plain()))
    elif console.is_terminal:
        from orchestrator.cli.standing_view import draw

        console.print(draw(seen, facts(seen, flags_given()), console))
    else:
        click.echo(plain(page_of(seen, flags_given())), nl=False)


def watch_in_lines(look: Callable[[], Standing], *, as_json: bool, pause: Callable[[float], None] = time.sleep) -> None:
    """Print a line whenever something changed, until nobody runs the sweep; before it one for each trial that ended."""
    before = ""
    known: set[int] | None = None
    while True:
        seen = look()
        line, ended = summary(seen), [*reversed(last_ended(seen.trials))]
        if line != before:
            new = [] if known is None or as_json else [trial for trial in ended if trial.number not in known]
            for trial in new:
                click.echo(f"trial {trial.number} {ending(trial, seen.metric, seen.best)}")
            click.echo(json.dumps(seen.plain()) if as_json else line)
            before, known = line, {trial.number for trial in ended}
        if not seen.row.is_driven:
            return
        pause(REFRESH_S)


def watch_on_screen(look: Callable[[], Standing]) -> None:
    """Redraw the standing until nobody runs the sweep, on a screen of its own; leave the last one behind."""
    from rich.console import Console
    from rich.live import Live

    from orchestrator.cli.standing_view import draw

    flags, console = flags_given(), Console(highlight=False)
    seen = look()

    def drawn() -> RenderableType:
        return draw(seen, facts(seen, flags), console, height=console.height)

    try:
        with Live(console=console, screen=True, get_renderable=drawn, refresh_per_second=2):
            while seen.row.is_driven:
                time.sleep(REFRESH_S)
                seen = look()
    finally:
        console.print(drawn())


def summary(seen: Standing) -> str:
    """Return the standing on one line."""
    best = f"; best {seen.metric} {number(seen.best.value(seen.metric))}" if seen.best else ""
    if seen.ahead is not None:
        best = f"; ahead {so_far(seen.ahead, seen.metric, seen.spec.budget.evaluations)}"
    evaluations = sum(len(trial.evaluations) for trial in seen.trials)
    by_state = states(seen.trials, driven=seen.row.is_driven)
    return (
        f"{seen.row.name} {seen.state}: {seen.ended}/{trials_allowed(seen.spec)} trials ended ({by_state}), "
        f"{count(evaluations, 'evaluation')}{best}"
    )


def facts(seen: Standing, flags: str = "") -> list[tuple[str, str]]:
    """Return what is said of the sweep beside its trials, each with a label."""
    row, budget = seen.row, seen.spec.budget
    hours = "" if budget.hours is None else f" of {budget.hours:g} h"
    said = [
        ("state", state(seen, flags)),
        ("run for", f"{duration(row.elapsed_s)}{hours}, begun {duration(time.time() - row.created)} ago"),
    ]
    said += [("wanted" if index == 0 else "", line) for index, line in enumerate(seen.wanted)]
    return [*said, ("model", row.model)] if row.model else said


def page_of(seen: Standing, flags: str = "") -> list[Block]:
    """Return the whole standing, for a pipe."""
    ended = f"{seen.ended} of {trials_allowed(seen.spec)} ended: {states(seen.trials, driven=seen.row.is_driven)}"
    rows = [*facts(seen, flags), ("trials", ended)]
    if seen.best is not None:
        rows.append(("best", f"{seen.metric} {number(seen.best.value(seen.metric))}, trial {seen.best.number}"))
        rows.append(("", setting(seen.best.chosen)))
        values = best_so_far(seen.trials, seen.metric, seen.spec.objective.direction)
        if line := sparkline(values, width=40, encoding=sys.stdout.encoding or "ascii"):
            rows.append(("", f"{line} by trial"))
    if seen.ahead is not None:
        rows.append(("ahead", so_far(seen.ahead, seen.metric, seen.spec.budget.evaluations)))
        rows.append(("", setting(seen.ahead.chosen)))
    page: list[Block] = [Heading(f"{seen.row.name}: {seen.spec.workload.kind}"), Facts(rows)]
    if found := last_ended(seen.trials)[:LAST_ENDED]:
        page.append(
            Table(("trial", "ended"), [(str(each.number), ending(each, seen.metric, seen.best)) for each in found])
        )
    if resting := [worker for worker in seen.workers if worker.trial is None]:
        page.append(
            Table(
                ("worker", "is", "for"),
                [(each.worker, str(each.doing), duration(time.time() - each.since)) for each in resting],
            )
        )
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
    """Return the trials that have begun and not ended, without those that are paused, and who trains them."""
    by_trial = {worker.trial.number: worker for worker in seen.workers if worker.trial is not None}
    rows = []
    for trial in [trial for trial in seen.under_way if trial.state is not TrialState.PAUSED]:
        worker = by_trial.get(trial.number)
        who = ("-", "-") if worker is None else (worker.worker, duration(time.time() - worker.since))
        done = f"{len(trial.evaluations)}/{seen.spec.budget.evaluations}"
        value = number(trial.value(seen.metric))
        rows.append((str(trial.number), done, value, *(who if by_trial else ()), setting(trial.chosen)))
    return Table(("trial", "evaluations", seen.metric, *(("worker", "for") if by_trial else ()), "setting"), rows)
