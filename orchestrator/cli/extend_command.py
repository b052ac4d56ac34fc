"""`bptt extend`: more trials or hours for a sweep."""

from __future__ import annotations

import json
from typing import Any

import click

from orchestrator.cli.options import existing_ledger, find_sweep, flags_given, with_settings
from orchestrator.cli.run_command import drive, driving_options
from orchestrator.cli.wishing import want
from orchestrator.database.wishes import WishKind, WishState
from orchestrator.errors import SweepHeld, UserError
from orchestrator.settings import Settings
from orchestrator.spec import spec_from

EPILOG = """\b
Examples:
  bptt extend demo --trials 20          20 trials more than it had, while it runs or not
  bptt extend demo --hours 1.5 --run    and go on at once
"""


@click.command("extend", epilog=EPILOG, short_help="Give a sweep more trials or hours.")
@click.argument("sweep", metavar="SWEEP")
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="So many trials more.")
@click.option("--hours", type=float, metavar="H", help="So many hours more.")
@click.option("--evaluations", type=int, hidden=True)
@click.option("--sequence-steps", type=int, hidden=True)
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
    """Add trials or hours to the budget of SWEEP, a name or a sweep file, whether or not it runs."""
    refuse_longer_trials(sweep, options.pop("evaluations"), options.pop("sequence_steps"))
    if trials is None and hours is None:
        raise UserError("--trials or --hours: say how much more")
    ledger = existing_ledger(settings)
    row = find_sweep(ledger, sweep)
    name = row.name
    if run_now and row.is_driven:
        raise SweepHeld(f"--run: {name} is being run already; without --run its driver is told")
    wish = want(ledger, name, WishKind.EXTEND, {"trials": trials or 0, "hours": hours})
    spec, is_driven = spec_from(ledger.sweep(name).spec), ledger.sweep(name).is_driven
    if as_json and not run_now:
        click.echo(json.dumps({"name": name, "budget": spec.budget.model_dump(), "state": str(wish.state)}))
    elif wish.state is WishState.NEW:
        click.echo(f"{name} will have more when its driver comes to it, or the next one")
    else:
        next_step = "" if run_now or is_driven else f"; go on with `bptt resume {name}{flags_given()}`"
        click.echo(wish.answer + next_step, err=as_json)
    return drive(settings, spec, as_json=as_json, **options) if run_now else 0


def refuse_longer_trials(sweep: str, evaluations: int | None, sequence_steps: int | None) -> None:
    """Refuse a longer training of each trial: those that ended could not be compared with the others.

    A trial's state in Optuna is final, a learning-rate schedule is placed by the whole budget, and the rungs and
    brackets of pruners follow from it.
    """
    for option, value in (("--evaluations", evaluations), ("--sequence-steps", sequence_steps)):
        if value is not None:
            raise UserError(
                f"{option}: trials trained for longer cannot be compared with those that {sweep} has; write the larger "
                "budget into a file with a new name, run that, and `bptt enqueue` the best settings there"
            )
