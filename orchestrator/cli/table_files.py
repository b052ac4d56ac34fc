"""Tables in and out of files: CSV, JSON lines and Parquet by the name's ending."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UserError
from workloads.data.corpora import AUDIO_ENDINGS

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (".csv", ".jsonl", ".parquet")
LONGEST_LIST = 40
"""Items; of longer lists, as samples of a sound, people see the first few."""


def read_table(source: str) -> pd.DataFrame:
    """Read a file, or JSON lines from standard input where `source` is -; a recording is a table of its `path` alone.

    UserError where that cannot be done.
    """
    import pandas as pd

    if source == "-":
        return _records(sys.stdin.read(), "-")
    path = Path(source)
    if path.suffix.lower() in AUDIO_ENDINGS:
        return pd.DataFrame({"path": [source]})
    ending = _ending(path, "INPUT")
    try:
        if ending == ".csv":
            return pd.read_csv(path)
        if ending == ".parquet":
            return pd.read_parquet(path)
        return _records(path.read_text(encoding="utf-8"), source)
    except OSError as error:
        raise UserError(f"INPUT: {source} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # pandas' and pyarrow's errors of form are such
        raise UserError(f"INPUT: {source} is no {ending[1:]} table: {error}") from error


def _ending(path: Path, where: str) -> str:
    if path.suffix not in ENDINGS:
        raise UserError(f"{where}: {path}: its name must end in {', '.join(ENDINGS)}")
    return path.suffix


def _records(text: str, source: str) -> pd.DataFrame:
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"INPUT: {source}, line {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise UserError(f'INPUT: {source}, line {number}: a JSON object is needed, as in {{"column": 1.5}}')
        rows.append(row)
    return pd.DataFrame(rows)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table in the format that the name's ending asks for."""
    ending = _ending(path, "--output")
    try:
        if ending == ".csv":
            table.to_csv(path, index=False)
        elif ending == ".parquet":
            table.to_parquet(path, index=False)
        else:
            path.write_text(json_lines(table), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output: {path} cannot be written: {error.strerror or error}") from error


def json_lines(table: pd.DataFrame) -> str:
    """Return a table as JSON, one object a row: numbers to their last digit, what is missing or endless as null.

    pandas' own writer keeps ten digits, and fifteen at most; a served model keeps all of them.
    """
    cells = table.replace([math.inf, -math.inf], math.nan).astype(object)
    rows = cells.where(cells.notna(), None).to_dict("records")
    write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode
    return "".join(f"{write(row)}\n" for row in rows)


def format_table(table: pd.DataFrame) -> str:
    """Return a table for people; a single row, whose texts may be long, as one paragraph a column, lists shortened."""
    table = table.map(_shortened)
    if len(table) == 1:
        return "\n".join(f"{name}: {value}" for name, value in table.iloc[0].items())
    return table.to_string(index=False)


def _shortened(value: Any) -> Any:
    if not isinstance(value, list) or len(value) <= LONGEST_LIST:
        return value
    return f"[{', '.join(map(str, value[:3]))}, ... {len(value)} in all]"
