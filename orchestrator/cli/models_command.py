"""`bptt models`: the registered models, which of them is in use, and whether another should be."""

from __future__ import annotations

import json

import click

from orchestrator.cli.options import as_json, with_settings
from orchestrator.cli.terminal import print_page
from orchestrator.errors import UserError
from orchestrator.settings import Settings

EPILOG = """\b
Examples:
  bptt models list
  bptt models show demo              the champion: its metrics beside baselines, where it comes from, how to use it
  bptt models show demo/2 --json
  bptt models compare demo           champion and challenger, side by side
  bptt models compare demo/1 demo/3
  bptt models promote demo           the challenger, if it is better on the same data
  bptt models promote demo/1 --force

A sweep's first winner is its champion. A later one is the champion if it is better on the same data, and else the
challenger. NAME is a sweep's name, NAME/VERSION, NAME@challenger, or a models:/ URI.
"""


@click.group("models", epilog=EPILOG, short_help="List, show, compare and promote registered models.")
def command() -> None:
    """List, show, compare and promote registered models."""


@command.command(
    "list",
    short_help="List the models that sweeps registered.",
    epilog="\b\nExamples:\n  bptt models list\n  bptt models list --json | jq -r '.[].uri'",
)
@as_json
@with_settings
def list_command(settings: Settings, as_json: bool) -> None:
    """List the models that sweeps registered, the latest version of each first."""
    from dataclasses import asdict

    from orchestrator.cli.models_view import list_page
    from orchestrator.tracking.model import registered

    models = registered(settings)
    if as_json:
        click.echo(json.dumps([asdict(model) for model in models]))
    else:
        print_page(list_page(models, settings))


@command.command(
    "show",
    short_help="Show one model and how to use it.",
    epilog="\b\nExamples:\n  bptt models show demo\n  bptt models show demo@challenger --json",
)
@click.argument("name", metavar="NAME")
@as_json
@with_settings
def show_command(settings: Settings, name: str, as_json: bool) -> None:
    """Show one model: the champion of the sweep NAME, or the version that NAME/VERSION or NAME@ALIAS stands for."""
    from orchestrator.cli.models_view import show_page
    from orchestrator.tracking.promoting import look_up

    found = look_up(settings, name)
    if as_json:
        click.echo(json.dumps(found.plain()))
    else:
        print_page(show_page(found, settings))


@command.command(
    "compare",
    short_help="Compare two models side by side.",
    epilog="\b\nExamples:\n  bptt models compare demo\n  bptt models compare demo/1 demo/3 --json",
)
@click.argument("name", metavar="NAME")
@click.argument("other", metavar="[OTHER]", required=False)
@as_json
@with_settings
def compare_command(settings: Settings, name: str, other: str | None, *, as_json: bool) -> None:
    """Compare two models by what was measured at their last evaluation: champion and challenger of NAME, or any two."""
    from orchestrator.cli.models_view import compare_page, comparison
    from orchestrator.tracking.contest import CHALLENGER
    from orchestrator.tracking.promoting import look_up

    first = look_up(settings, name)
    second = look_up(settings, other) if other else look_up(settings, f"{first.model.name}@{CHALLENGER}")
    if first.model.uri == second.model.uri:
        raise UserError(f"OTHER: {other or name}: both are {first.model.uri}; `bptt models list` shows what there is")
    if as_json:
        click.echo(json.dumps(comparison(first, second)))
    else:
        print_page(compare_page(first, second))


@command.command(
    "promote",
    short_help="Let a model be the champion, if it is better.",
    epilog="\b\nExamples:\n  bptt models promote demo\n  bptt models promote demo/1 --force --json",
)
@click.argument("name", metavar="NAME")
@click.option("--force", is_flag=True, help="Promote it even if it is no better, or cannot be compared.")
@as_json
@with_settings
def promote_command(settings: Settings, name: str, *, force: bool, as_json: bool) -> None:
    """Let a model be the champion: the challenger of NAME, or the version that NAME/VERSION stands for.

    Both are scored anew on the same data, which the workload prepares as it did for the sweep; the test part decides
    where there is one. One that is no better is refused.
    """
    from dataclasses import asdict

    from orchestrator.tracking.promoting import promote

    done = promote(settings, name, force=force)
    if as_json:
        click.echo(json.dumps(asdict(done)))
    elif done.before == done.uri:
        click.echo(f"{done.uri} is the champion already")
    else:
        joined = ", although " if done.forced else ": "
        click.echo(f"{done.uri} is the champion now{joined}{done.verdict.reason}")
