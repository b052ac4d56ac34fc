"""`bptt predict`: a trained model in use, be it a sweep's registered winner or a checkpoint of `bptt train`."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.assignments import read_scalar, split_assignments
from orchestrator.cli.options import as_json, flags_given, with_settings
from orchestrator.cli.predict_model import Usable, find_model, open_stream, prompt_column, prompt_flag
from orchestrator.cli.sound_files import read_recordings, wants_recordings
from orchestrator.cli.table_files import format_table, json_lines, read_table, write_table
from orchestrator.errors import UserError
from orchestrator.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

EPILOG = """\b
Examples:
  bptt predict demo                                 what the sweep's winner takes
  bptt predict demo --prompt 'The for statement' --set length=200
  bptt predict dates --prompt '4. Oktober 2003'
  bptt predict weather history.csv -o forecast.csv
  bptt predict digits recording.wav --set beam_width=8
  bptt predict models:/weather/2 history.parquet --json
  bptt predict demo --trial 12 --prompt 'The for'   another trial than the winner, where its checkpoint was kept
  bptt predict bptt-runs/train/memory-20250101-120000 - < sequences.jsonl
  bptt predict weather --stream --state weather.state < today.csv

Answers are a table on a terminal, CSV in a pipe, and with --json one JSON object a row.

\b
With --stream INPUT (by default -) is read piece by piece, and a JSON object follows each as it comes:
  text         a line: of each token its log-probability, and the likeliest next token
  forecast     a CSV or JSON line, or a JSON list of rows: the forecast from each row
  speech       half a second of a recording: the transcript so far
With --state a stream has no end: a word or frame that may go on waits in FILE for the next call.
"""


@click.command("predict", epilog=EPILOG, short_help="Use a sweep's registered model.")
@click.argument("model", metavar="MODEL")
@click.argument("source", metavar="[INPUT]", required=False)
@click.option(
    "--prompt", "prompts", multiple=True, metavar="TEXT", help="A text to continue or translate, not INPUT; repeatable."
)
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="An option of the model; repeatable.")
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="This trial of the sweep, not its winner.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it there (.csv, .jsonl, .parquet)."
)
@click.option("--stream", is_flag=True, help="Read INPUT piece by piece, and answer each as it comes.")
@click.option(
    "--state", type=click.Path(path_type=Path), metavar="FILE", help="Go on from this state of --stream; keep it there."
)
@as_json
@with_settings
def command(
    settings: Settings,
    model: str,
    source: str | None,
    *,
    prompts: tuple[str, ...],
    given: tuple[str, ...],
    trial: int | None,
    output: Path | None,
    stream: bool,
    state: Path | None,
    as_json: bool,
) -> None:
    """Let MODEL answer INPUT: a CSV, JSON-lines or Parquet file, a recording, or - for JSON lines from a pipe.

    MODEL is a sweep's name (its champion), a models:/ or runs:/ URI, or a checkpoint or folder of `bptt train`. Without
    INPUT, say what the model takes.
    """
    if prompts and source is not None:
        raise UserError("--prompt and INPUT exclude each other")
    if state is not None and not stream:
        raise UserError("--state belongs to --stream; add that, too")
    if stream:
        if prompts or given or output is not None:
            raise UserError(
                "--stream reads INPUT and writes to standard output; it goes without --prompt, --set and -o"
            )
        from orchestrator.cli.predict_stream import answer_stream

        answer_stream(open_stream(find_model(settings, model, trial=trial)), source or "-", state)
        return
    # Read before the model is: what is wrong with it shows at once.
    table = read_table(source) if source is not None else None
    found = find_model(settings, model, trial=trial)
    example, defaults = found.example()
    options = read_options(given, defaults)
    if prompts:
        table = as_prompts(prompts, example)
    if table is not None and wants_recordings(table, example):
        table = read_recordings(table)
    if table is None:
        explain(model, example, defaults, as_json=as_json)
    else:
        answer(found, table, options, output=output, as_json=as_json)


TYPES = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}


def answer(
    found: Usable, table: pd.DataFrame, options: Mapping[str, Any], *, output: Path | None, as_json: bool
) -> None:
    """Predict, and write what came out where it was asked for."""
    if table.empty:
        raise UserError("INPUT: no rows")
    answers = found.predict(table, options)
    if output is not None:
        write_table(answers, output)
        click.echo(f"{len(answers)} rows in {output}", err=True)
    elif as_json:
        click.echo(json_lines(answers), nl=False)
    elif sys.stdout.isatty():
        click.echo(format_table(answers))
    else:
        click.echo(answers.to_csv(index=False), nl=False)


def read_options(given: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model's options with those given in place; UserError where one is unknown or of another type."""
    options = dict(defaults)
    for name, text in split_assignments(given).items():
        if name not in defaults:
            raise UserError(f"--set {name}: unknown; the model takes {', '.join(defaults) or 'no options'}")
        kind = type(defaults[name])
        value = text if kind is str else read_scalar(text)
        if kind is float and type(value) is int:
            value = float(value)
        if kind is int and isinstance(value, float) and value.is_integer():
            value = int(value)  # people write 1e3
        if type(value) is not kind:
            raise UserError(f"--set {name}: {text!r}; it must be {TYPES[kind]}, as in {name}={defaults[name]}")
        options[name] = value
    return options


def as_prompts(prompts: Sequence[str], example: pd.DataFrame) -> pd.DataFrame:
    """Return prompts as a table; UserError where the model takes none."""
    import pandas as pd

    column = prompt_column(*names_and_rows(example))
    if column is None:
        raise UserError(f"--prompt: this model takes no prompts but a table of {', '.join(map(str, example.columns))}")
    return pd.DataFrame({column: list(prompts)})


def names_and_rows(example: pd.DataFrame) -> tuple[list[str], list[list[Any]]]:
    """Return a table as plain values."""
    return list(map(str, example.columns)), example.to_numpy(dtype=object).tolist()


def explain(model: str, example: pd.DataFrame, defaults: Mapping[str, Any], *, as_json: bool) -> None:
    """Say what a model takes, by its example."""
    rows = json.loads(example.to_json(orient="records"))
    if as_json:
        columns = {str(name): str(kind) for name, kind in example.dtypes.items()}
        click.echo(json.dumps({"columns": columns, "options": dict(defaults), "example": rows}))
        return
    click.echo(f"{model} takes a table of {', '.join(map(str, example.columns))}; for example:\n")
    click.echo(format_table(example.head(5)))
    if len(example) > 5:
        click.echo(f"... ({len(example)} rows)")
    if defaults:
        options = "  ".join(f"{name}={value}" for name, value in defaults.items())
        click.echo(f"\nand the options (--set)  {options}")
    named = shlex.quote(model) + flags_given()
    flag = prompt_flag(*names_and_rows(example))
    if flag is not None:
        click.echo(f"\n  bptt predict {named} {flag}")
    elif "audio" in example.columns:
        click.echo(f"\n  bptt predict {named} recording.wav")
    else:
        click.echo(
            f"\n  bptt predict {named} table.csv\n  echo {shlex.quote(json.dumps(rows[0]))} | bptt predict {named} -"
        )
