"""What `bptt predict --stream` reads: lines of text, rows of tables, and sound, each as soon as it is there."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from orchestrator.errors import UserError

if TYPE_CHECKING:
    from workloads.protocol import SoundStream, Stream

PIECE_S = 0.5
"""Of sound, in one piece."""


def pieces_of(source: str, stream: Stream, *, lasting: bool) -> Iterator[Any]:
    """Return what is in a file or comes from standard input, -, in pieces; UserError where it cannot be read.

    A stream is `lasting` where its state will be put away.
    """
    if stream.takes == "sound":
        return sounds(source, cast("SoundStream", stream).sample_rate, lasting=lasting)
    return rows(source) if stream.takes == "rows" else lines(source)


def lines(source: str) -> Iterator[str]:
    """Return a text line by line, each with its end."""
    try:
        with opened(source) as file:
            yield from file
    except OSError as error:
        raise UserError(f"INPUT: {source} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"INPUT: {source} is no text in UTF-8: {error.reason} at byte {error.start}") from error


def opened(source: str) -> AbstractContextManager[TextIO]:
    """Return a text as training reads one, be it from a file or a pipe: ends of lines and byte order marks alike."""
    if source != "-":
        return Path(source).open(encoding="utf-8-sig")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8-sig", newline=None)
    return contextlib.nullcontext(sys.stdin)


def rows(source: str) -> Iterator[dict[str, list[Any]]]:
    """Return tables of one row each, as columns: of CSV lines behind a header, or of JSON lines.

    A JSON line may be a list of rows: these are one piece.
    """
    numbered = ((number, line) for number, line in enumerate(lines(source), start=1) if line.strip())
    first = next(numbered, None)
    if first is None:
        raise UserError(f"INPUT: {source}: no rows")
    if first[1].lstrip()[0] in "{[":
        return (json_rows(number, line) for number, line in itertools.chain([first], numbered))
    return (csv_row(number, first[1], line) for number, line in numbered)


def json_rows(number: int, line: str) -> dict[str, list[Any]]:
    """Return the rows of a line as columns; UserError where it holds none."""
    try:
        read = json.loads(line)
    except ValueError as error:
        raise UserError(f"INPUT: line {number}: not JSON: {error}") from error
    table = read if isinstance(read, list) else [read]
    if not table or not all(isinstance(row, dict) for row in table):
        raise UserError(f'INPUT: line {number}: a JSON object is needed, as in {{"column": 1.5}}, or a list of such')
    names = dict.fromkeys(name for row in table for name in row)
    return {name: [row.get(name) for row in table] for name in names}


def csv_row(number: int, header: str, line: str) -> dict[str, list[Any]]:
    """Return a line's row as columns, its values read as those of a whole file; UserError where it has others."""
    import pandas as pd

    named, given = (len(next(csv.reader([text]))) for text in (header, line))
    if named != given:
        raise UserError(f"INPUT: line {number}: {given} values, where the header names {named}")
    return {str(name): column for name, column in pd.read_csv(io.StringIO(header + line)).to_dict("list").items()}


def sounds(source: str, rate: int, *, lasting: bool) -> Iterator[Any]:
    """Return a recording in pieces of half a second at the model's rate in Hz."""
    from workloads.data.audio import UnusableAudio
    from workloads.data.sound_pieces import read_pieces

    opened = sys.stdin.fileno() if source == "-" else Path(source)
    try:
        yield from read_pieces(opened, rate, seconds=PIECE_S, lasting=lasting)
    except UnusableAudio as error:
        raise UserError(f"INPUT: {source}: {error}") from error
    except ValueError as error:  # a library is missing
        raise UserError(str(error)) from error
