"""`bptt report`: what a sweep found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import existing_ledger, find_sweep, with_settings
from orchestrator.cli.terminal import print_page
from orchestrator.errors import UserError
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.database.ledger import Ledger

EPILOG = """\b
Examples:
  bptt report demo
  bptt report demo --format markdown -o demo.md
  bptt report demo --html                     writes demo.html: with figures, in one file
  bptt report sweep.yaml --format json | jq .answer.best

It works on a running sweep too, and shows what was found so far.
"""
FORMATS = ("text", "markdown", "json", "html")

DEFAULT = "-"
"""Stands for a file named after the sweep."""


@click.command("report", epilog=EPILOG, short_help="Report what a sweep found.")
@click.argument("sweep", metavar="SWEEP")
@click.option("--format", "written_as", type=click.Choice(FORMATS), help="[default: text; by FILE's ending with -o]")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it there.  [default: stdout]"
)
@click.option(
    "--html",
    "page",
    is_flag=False,
    flag_value=DEFAULT,
    metavar="[FILE]",
    help="The same as --format html -o FILE.  [default: SWEEP.html]",
)
@with_settings
def command(
    settings: Settings,
    sweep: str,
    *,
    written_as: str | None,
    as_json: bool,
    output: Path | None,
    page: str | None,
) -> None:
    """Report what SWEEP, a name or a sweep file, found: the truncation length to use, what mattered, what it cost."""
    chosen = chosen_format(written_as, as_json=as_json, output=output, page=page)
    ledger = existing_ledger(settings)
    name = find_sweep(ledger, sweep).name
    if page is not None:
        output = Path(f"{name}.html" if page == DEFAULT else page)
    if chosen == "text" and output is None:
        from orchestrator.report import make_report
        from orchestrator.report.words import page_of

        print_page(page_of(make_report(ledger, name)))
        return
    write(report_text(ledger, name, chosen), output)


def chosen_format(written_as: str | None, *, as_json: bool, output: Path | None, page: str | None) -> str:
    """Return the format that was asked for; UserError where two were."""
    if as_json and written_as not in (None, "json"):
        raise UserError(f"--json and --format {written_as} exclude each other")
    if page is not None:
        for given, flag in ((as_json, "--json"), (output, "--output"), (written_as not in (None, "html"), "--format")):
            if given:
                raise UserError(f"--html and {flag} exclude each other")
        return "html"
    return "json" if as_json else written_as or format_of(output)


def report_text(ledger: Ledger, name: str, written_as: str) -> str:
    """Return the report on a sweep in a format."""
    if written_as == "html":
        from orchestrator.report.html import html_report

        return html_report(ledger, name)
    from orchestrator.pages import markdown, plain
    from orchestrator.report import make_report
    from orchestrator.report.words import page_of

    report = make_report(ledger, name)
    if written_as == "json":
        return json.dumps(report.plain(), indent=2) + "\n"
    return (markdown if written_as == "markdown" else plain)(page_of(report))


def write(text: str, output: Path | None) -> None:
    """Write a report to a file, or to the terminal."""
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output: {output} cannot be written: {error.strerror}") from error
    click.echo(f"wrote {output}")


def format_of(output: Path | None) -> str:
    """Return the format that a file's name asks for."""
    return {".md": "markdown", ".json": "json", ".html": "html", ".htm": "html"}.get(
        output.suffix.lower() if output else "", "text"
    )
