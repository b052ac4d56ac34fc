"""Tables written as JSON lines."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.cli.table_files import json_lines, read_table, write_table

NUMBERS = [0.1 + 0.2, 1234.5678901234567, 5e-324, -1e300]


@pytest.mark.parametrize("written", ["printed", "file"])
def test_json_lines_keep_every_digit(written: str, tmp_path: Path) -> None:
    table, path = pd.DataFrame({"value": NUMBERS, "count": [1, 2, 3, 2**60]}), tmp_path / "table.jsonl"
    path.write_text(json_lines(table)) if written == "printed" else write_table(table, path)
    assert [json.loads(line) for line in path.read_text().splitlines()] == table.to_dict("records")
    assert read_table(str(path))["value"].tolist() == NUMBERS


def test_what_is_missing_or_endless_is_null_and_lists_times_and_letters_stay_as_they_are() -> None:
    table = pd.DataFrame(
        {
            "value": [math.nan, math.inf],
            "text": [None, "é"],
            "samples": [[0.5, 1.0], []],
            "time": [pd.Timestamp("2024-01-02 03:00"), pd.NaT],
        }
    )
    text = json_lines(table)
    first, second = map(json.loads, text.splitlines())
    assert first == {"value": None, "text": None, "samples": [0.5, 1.0], "time": "2024-01-02 03:00:00"}
    assert second == {"value": None, "text": "é", "samples": [], "time": None}
    assert "é" in text
    assert json_lines(table.iloc[:0]) == ""
