"""`bptt extend`: more trials or hours for a sweep."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from orchestrator.cli.options import existing_ledger, find_sweep, flags_given, with_settings
from orchestrator.cli.run_command import drive, driving_options
from orchestrator.errors import UserError
from orchestrator.lease import Lease
from orchestrator.ledger import Ledger
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, grid_size, spec_from

EPILOG = """\b
Examples:
  bptt extend demo --trials 20          20 trials more than it had
  bptt extend demo --hours 1.5 --run    and go on at once
"""


@click.command("extend", epilog=EPILOG, short_help="Give a sweep more trials or hours.")
@click.argument("sweep", metavar="SWEEP")
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="So many trials more.")
@click.option("--hours", type=float, metavar="H", help="So many hours more.")
@click.option("--run", "run_now", is_flag=True, help="Go on with the sweep at once, as `bptt resume` does.")
@driving_options
@with_settings
def command(
    settings: Settings,
    sweep: str,
    trials: int | None,
    hours: float | None,
    run_now: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Add trials or hours to the budget of SWEEP, a name or a sweep file."""
    if trials is None and hours is None:
        raise UserError("--trials or --hours: say how much more")
    ledger = existing_ledger(settings)
    name = find_sweep(ledger, sweep).name
    spec = extend(ledger, name, trials=trials or 0, hours=hours)
    limit = "" if spec.budget.hours is None else f" and {spec.budget.hours:g} hours"
    next_step = "" if run_now else f"; go on with `bptt resume {name}{flags_given()}`, or change its file too"
    if as_json and not run_now:
        click.echo(json.dumps({"name": name, "budget": spec.budget.model_dump()}))
    else:
        click.echo(f"{name} now has {spec.budget.trials:,} trials{limit}{next_step}", err=as_json)
    return drive(settings, spec, as_json=as_json, **options) if run_now else 0


def extend(ledger: Ledger, name: str, *, trials: int, hours: float | None) -> SweepSpec:
    """Store a larger budget and return the sweep with it.

    Raises SweepHeld while a driver runs it, and UserError where the budget cannot be larger in that way.
    """
    lease = Lease(ledger, name)
    before = lease.take()  # so that no driver begins with the old budget while the new one is written
    state, message = before.state, before.message
    try:
        spec = larger(spec_from(before.spec), trials=trials, hours=hours)
        ledger.update(name, spec=spec.plain())
        state, message = "interrupted", "its budget was extended"
    finally:
        lease.give_back(state, message)
    return spec


def larger(spec: SweepSpec, *, trials: int, hours: float | None) -> SweepSpec:
    """Return the sweep with a larger budget; UserError where that would change nothing or cannot be."""
    plain: dict[str, Any] = spec.plain()
    if trials and spec.search.sampler == "grid" and spec.budget.trials >= grid_size(spec):
        raise UserError(f"--trials: the grid of {spec.name} has {grid_size(spec)} settings, and its budget all of them")
    plain["budget"]["trials"] += trials
    if hours is not None:
        if not 0 < hours < math.inf:
            raise UserError(f"--hours: {hours:g}; it must be above 0")
        if spec.budget.hours is None:
            raise UserError(f"--hours: {spec.name} has no limit of hours that could be raised")
        plain["budget"]["hours"] += hours
    return spec_from(plain)
