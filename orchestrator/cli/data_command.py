"""`bptt data`: the data known by name, whether they are here, and how they come here."""

from __future__ import annotations

import json
from typing import Any

import click

from orchestrator.cli.options import as_json
from orchestrator.errors import UserError
from orchestrator.presence import presence
from workloads.data.catalogue import ENTRIES, Entry

EPILOG = """\b
Examples:
  bptt data                            what there is
  bptt data describe tinyshakespeare   what it is, where it is, who may use it
  bptt data fetch tinyshakespeare      download it, and verify it
  bptt data list --json

Name the data in a sweep file's workload block, or after `bptt train ... --set`. Data of your own are given by their
path instead. Downloaded data lie in BPTT_DATA, else in ../shared/data, else in the user's cache.
"""


def facts(entry: Entry) -> dict[str, Any]:
    """Return what is known of a data set as plain values."""
    found, pin = presence(entry), entry.download
    pinned: dict[str, Any] = {}
    if pin is not None:
        pinned = {"files": f"{pin.count:,}: {', '.join(pin.members)}" if pin.members else entry.place}
        pinned |= {"address": pin.url, "bytes": pin.size, "sha256": pin.sha256}
        if pin.members:
            sums = f"sha256sum {' '.join(pin.members)} | LC_ALL=C sort | sha256sum"
            pinned["pinned"] = f"these files, not their archive: bytes of all, and the sha256 that `{sums}` gives"
        if pin.newer:
            pinned["newer"] = (
                f"{pin.newer} serves newer versions, which the check refuses; `bptt data fetch {entry.name} "
                f"--any-version` takes one unchecked, or put one at the place by hand"
            )
    return {
        "name": entry.name,
        "workload": entry.kind,
        "description": entry.description,
        "licence": entry.licence,
        "attribution": entry.attribution,
        "split": entry.split,
        **pinned,
        "here": found.here,
        "place": found.place,
        "use": f"bptt train {entry.kind} --set {entry.option}={entry.name}",
    }


def entry_called(name: str) -> Entry:
    """Return the data set of that name; UserError with those there are."""
    entry = ENTRIES.get(name)
    if entry is None:
        raise UserError(f"NAME: {name!r}; there are {', '.join(ENTRIES)}; data of your own are given by their path")
    return entry


@click.group(
    "data", epilog=EPILOG, short_help="List, describe and fetch the data known by name.", invoke_without_command=True
)
@as_json
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the data known by name, describe one, or fetch it."""
    if context.invoked_subcommand is None:
        show_list(as_json)
    elif as_json:
        context.obj = {"as_json": True}


@command.command("list", epilog="\b\nExamples:\n  bptt data list\n  bptt data list --json | jq -r '.[].name'")
@as_json
@click.pass_obj
def list_command(inherited: dict[str, bool] | None, as_json: bool) -> None:
    """List the data known by name."""
    show_list(as_json or bool(inherited))


@command.command("describe", epilog="\b\nExamples:\n  bptt data describe an4\n  bptt data describe an4 --json")
@click.argument("name")
@as_json
@click.pass_obj
def describe_command(inherited: dict[str, bool] | None, name: str, as_json: bool) -> None:
    """Describe the data called NAME."""
    known = facts(entry_called(name))
    if as_json or inherited:
        click.echo(json.dumps(known))
        return
    for field, value in known.items():
        shown = ("yes" if value else "no") if isinstance(value, bool) else value
        click.echo(f"{field + ':':<13}{f'{shown:,}' if isinstance(shown, int) else shown}")


@command.command(
    "fetch",
    epilog="\b\nExamples:\n  bptt data fetch tinyshakespeare\n"
    "  bptt data fetch tatoeba-fra-eng --any-version    the publisher's newest, unverified",
)
@click.argument("name")
@click.option("--force", is_flag=True, help="Fetch it even if it is here, and replace what lies in its place.")
@click.option("--any-version", is_flag=True, help="Take what the publisher serves now, unverified.")
@as_json
@click.pass_obj
def fetch_command(
    inherited: dict[str, bool] | None, name: str, *, force: bool, any_version: bool, as_json: bool
) -> None:
    """Download the data called NAME, and verify them; what is here already is only verified.

    A download that was broken off is gone on with by the same command.
    """
    from orchestrator.cli.data_fetch import fetch

    fetch(entry_called(name), force=force, any_version=any_version, as_json=as_json or bool(inherited))


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
        click.echo(f"\n`bptt data fetch {missing[0]}` gets it, or says how to get it")
