"""`bptt init`: a commented sweep file to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.template import sweep_template
from orchestrator.errors import UserError

EPILOG = """\b
Examples:
  bptt init language_model -o sweep.yaml
  bptt init memory > memory.yaml
  bptt init my_package.tasks:Protein      a workload of your own
"""


@click.command("init", epilog=EPILOG, short_help="Write a commented sweep file for a workload.")
@click.argument("workload", metavar="WORKLOAD")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it there.  [default: stdout]"
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def command(workload: str, output: Path | None, force: bool) -> None:
    """Write a sweep file for WORKLOAD, every option explained.

    WORKLOAD is language_model, forecast, speech, translation, memory, or module:Name for one of your own.
    """
    text = sweep_template(workload)
    if output is None:
        click.echo(text, nl=False)
        return
    write_file(output, text, force=force)
    click.echo(f"wrote {output}; next: bptt validate {output}, then bptt run {output}")


def write_file(path: Path, text: str, *, force: bool) -> None:
    """Write a new file whole; UserError where it exists already or cannot be written."""
    try:
        # Opened exclusively, a file that appears in this moment is not lost either.
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UserError(f"--output: {path} exists; give another name, or --force to replace it") from error
    except OSError as error:
        raise UserError(f"--output: {path} cannot be written: {error.strerror}") from error
