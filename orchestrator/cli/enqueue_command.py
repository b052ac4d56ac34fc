"""`bptt enqueue`: try a given setting in a sweep."""

from __future__ import annotations

import click

from orchestrator.cli.assignments import read_scalar, split_assignments
from orchestrator.cli.options import as_json, existing_ledger, find_sweep, with_settings
from orchestrator.cli.wishing import tell, want
from orchestrator.database.wishes import WishKind
from orchestrator.settings import Settings

EPILOG = """\b
Examples:
  bptt enqueue demo --set cell_type=lstm --set hidden_size=128     the sampler chooses the rest
  bptt enqueue demo --set learning_rate=3e-3 --extra               beyond the budget of trials
"""


@click.command("enqueue", epilog=EPILOG, short_help="Try a given setting next.")
@click.argument("sweep", metavar="SWEEP")
@click.option(
    "--set", "assignments", metavar="NAME=VALUE", multiple=True, required=True, help="Of the space; repeatable."
)
@click.option("--extra", is_flag=True, help="Add a trial to the budget for it.")
@as_json
@with_settings
def command(settings: Settings, sweep: str, assignments: tuple[str, ...], extra: bool, as_json: bool) -> None:
    """Have SWEEP, a name or a sweep file, try a setting before any other new one; what is not set is sampled."""
    ledger = existing_ledger(settings)
    name = find_sweep(ledger, sweep).name
    setting = {key: read_scalar(text) for key, text in split_assignments(assignments).items()}
    wish = want(ledger, name, WishKind.ENQUEUE, {"setting": setting, "extra": extra})
    tell(ledger, name, wish, as_json=as_json)
