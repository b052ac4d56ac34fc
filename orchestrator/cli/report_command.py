"""`bptt report`: what a sweep found."""

from __future__ import annotations

import json
from pathlib import Path

import click

from orchestrator.cli.options import existing_ledger, find_sweep, with_settings
from orchestrator.cli.terminal import print_page
from orchestrator.errors import UserError
from orchestrator.settings import Settings

EPILOG = """\b
Examples:
  bptt report demo
  bptt report demo --format markdown -o demo.md
  bptt report sweep.yaml --format json | jq .answer.best

It works on a running sweep too, and shows what was found so far.
"""
FORMATS = ("text", "markdown", "json")


@click.command("report", epilog=EPILOG, short_help="Report what a sweep found.")
@click.argument("sweep", metavar="SWEEP")
@click.option("--format", "written_as", type=click.Choice(FORMATS), help="[default: text; by FILE's ending with -o]")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it there.  [default: stdout]"
)
@with_settings
def command(settings: Settings, sweep: str, written_as: str | None, as_json: bool, output: Path | None) -> None:
    """Report what SWEEP, a name or a sweep file, found: the truncation length to use, what mattered, what it cost."""
    from orchestrator.pages import markdown, plain
    from orchestrator.report import make_report
    from orchestrator.report.words import page_of

    if as_json and written_as not in (None, "json"):
        raise UserError(f"--json and --format {written_as} exclude each other")
    chosen = "json" if as_json else written_as or format_of(output)
    ledger = existing_ledger(settings)
    report = make_report(ledger, find_sweep(ledger, sweep).name)
    if chosen == "text" and output is None:
        print_page(page_of(report))
        return
    if chosen == "json":
        text = json.dumps(report.plain(), indent=2) + "\n"
    else:
        text = (markdown if chosen == "markdown" else plain)(page_of(report))
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
    return {".md": "markdown", ".json": "json"}.get(output.suffix.lower() if output else "", "text")
