"""Recordings as input of a model that hears: files by their names become columns of samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def read_recordings(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of `path` with `audio` and `sample_rate` in its place; UserError names a file that is unusable."""
    import pandas as pd

    from workloads.data.audio import UnusableAudio, read_audio

    sounds = []
    for path in table["path"]:
        try:
            sounds.append(read_audio(Path(str(path)).expanduser()))
        except (UnusableAudio, RuntimeError) as error:  # RuntimeError: a home of nobody
            raise UserError(f"INPUT: {path}: {error}") from error
        except ValueError as error:  # a library is missing
            raise UserError(str(error)) from error
    audio = pd.Series([samples.tolist() for samples, _ in sounds], dtype=object)
    return pd.DataFrame({"audio": audio, "sample_rate": [rate for _, rate in sounds]})


def wants_recordings(table: pd.DataFrame, example: pd.DataFrame) -> bool:
    """Tell whether a table names recordings for a model that takes samples."""
    return "audio" in example.columns and "audio" not in table.columns and "path" in table.columns
