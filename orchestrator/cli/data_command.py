"""`bptt data`: the data known by name, and whether they are here."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from orchestrator.cli.options import as_json
from orchestrator.errors import UserError
from orchestrator.presence import presence
from workloads import KINDS, import_name
from workloads.data.catalogue import ENTRIES, Entry

EPILOG = """\b
Examples:
  bptt data                            what there is
  bptt data describe tinyshakespeare   where it is, or where to put it
  bptt data list --json

Name the data in a sweep file's workload block, or after `bptt train ... --set`. Data of your own are given by their
path instead. Downloaded data lie in BPTT_DATA, else in ../shared/data, else in the user's cache.
"""


def facts(entry: Entry) -> dict[str, Any]:
    """Return what is known of a data set as plain values."""
    found = presence(entry)
    return {
        "name": entry.name,
        "workload": entry.kind,
        "description": entry.description,
        "licence": entry.licence,
        "here": found.here,
        "place": found.place,
        "use": f"bptt train {entry.kind} --set {option_for(entry)}={entry.name}",
    }


def option_for(entry: Entry) -> str:
    """Return the workload's option that names its data: the one that has such a name by default."""
    options = dataclasses.fields(import_name(KINDS[entry.kind], "kind"))
    return next(option.name for option in options if isinstance(option.default, str) and option.default in ENTRIES)


@click.group("data", epilog=EPILOG, short_help="List and describe the data known by name.", invoke_without_command=True)
@as_json
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the data known by name, or describe one."""
    if context.invoked_subcommand is None:
        show_list(as_json)
    elif as_json:
        context.obj = {"as_json": True}


@command.command("list")
@as_json
@click.pass_obj
def list_command(inherited: dict[str, bool] | None, as_json: bool) -> None:
    """List the data known by name."""
    show_list(as_json or bool(inherited))


@command.command("describe")
@click.argument("name")
@as_json
@click.pass_obj
def describe_command(inherited: dict[str, bool] | None, name: str, as_json: bool) -> None:
    """Describe the data called NAME."""
    entry = ENTRIES.get(name)
    if entry is None:
        raise UserError(f"NAME: {name!r}; there are {', '.join(ENTRIES)}; data of your own are given by their path")
    known = facts(entry)
    if as_json or inherited:
        click.echo(json.dumps(known))
        return
    for field, value in known.items():
        shown = ("yes" if value else "no") if isinstance(value, bool) else value
        click.echo(f"{field + ':':<13}{shown}")


def show_list(as_json: bool) -> None:
    """Print all data sets: a line each, or JSON."""
    known = [facts(entry) for entry in ENTRIES.values()]
    if as_json:
        click.echo(json.dumps(known))
        return
    widths = {field: max(len(str(row[field])) for row in known) for field in ("name", "workload")}
    for row in known:
        here = "here" if row["here"] else "missing"
        click.echo(
            f"{row['name']:<{widths['name']}}  {row['workload']:<{widths['workload']}}  {here:<7}  {row['description']}"
        )
    missing = [str(row["name"]) for row in known if not row["here"]]
    if missing:
        click.echo(f"\n`bptt data describe {missing[0]}` says how to get it")
