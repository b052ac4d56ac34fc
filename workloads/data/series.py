"""Columns of a table: numbers, and the times of the rows."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas

TIME_NAMES = ("date", "time", "datetime", "timestamp")
"""A column so called, in small letters or large, holds the time."""


def numbers(frame: pandas.DataFrame, names: Sequence[str], field: str) -> np.ndarray:
    """Return the columns `names` as float64 (rows, columns), NaN where a value is missing or infinite.

    ValueError, beginning with `field`, where one is not there, is not of numbers, or has no value at all.
    """
    import pandas

    columns = []
    for name in names:
        if name not in frame.columns:
            there = ", ".join(map(str, frame.columns))
            raise ValueError(f"{field}: there is no column {name!r}; there are {there}")
        given = frame[name]
        column = pandas.to_numeric(given, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        texts = np.flatnonzero(np.isnan(column) & given.notna().to_numpy())
        if len(texts):
            raise ValueError(
                f"{field}: column {name} is not of numbers: {str(given.iloc[texts[0]])!r} in row {texts[0] + 1}"
            )
        column = np.where(np.isfinite(column), column, np.nan)
        if len(column) and np.isnan(column).all():
            raise ValueError(f"{field}: column {name} is empty: none of its {len(column)} rows has a number")
        columns.append(column)
    return np.stack(columns, axis=1) if columns else np.empty((len(frame), 0))


def time_column(frame: pandas.DataFrame, wanted: str | None) -> str | None:
    """Return the name of the column of time: `wanted`, else one so called, else a first column of dates, else None."""
    if wanted is not None:
        if wanted == "none" and wanted not in frame.columns:
            return None
        if wanted not in frame.columns:
            raise ValueError(f"workload.time: there is no column {wanted!r}; there are {', '.join(map(str, frame))}")
        return wanted
    for name in map(str, frame.columns):
        if name.lower() in TIME_NAMES:
            return name
    first = frame.iloc[:, 0]
    try:
        if is_numeric(first) or not len(first):
            return None
        check_order(times(first, ""), "")
        return str(frame.columns[0])
    except ValueError:
        return None  # words that pandas can take for dates, such as the names of months


def times(column: pandas.Series[Any], field: str) -> pandas.Index[Any]:
    """Return the times, or numbers as they are; ValueError, beginning with `field`, where they cannot be read."""
    import pandas

    if is_numeric(column):
        values: pandas.Index[Any] = pandas.Index(column)
        return values
    try:
        with warnings.catch_warnings():
            # That pandas has to guess the format is no news to whoever made the file.
            warnings.simplefilter("ignore", UserWarning)
            readings = _readings(column)
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{field}: column {column.name} holds no times that can be read: {reason}") from error
    rising = [stamps for stamps in readings if stamps.is_monotonic_increasing]
    if len(rising) == 2 and not rising[0].equals(rising[1]):
        raise ValueError(
            f"{field}: column {column.name}: days and months cannot be told apart, {column.iloc[-1]} may be "
            f"{rising[0][-1]:%Y-%m-%d} or {rising[1][-1]:%Y-%m-%d}; write dates as in 2024-12-31"
        )
    return (rising or readings)[0]


def _readings(column: pandas.Series[Any]) -> list[pandas.DatetimeIndex]:
    """Return the times as they can be read: dates such as 01/02/2024 with the month first and with the day first.

    ValueError where they cannot be read in any way.
    """
    if not len(column) or not re.match(r"\s*\d{1,2}[/.-]\d{1,2}[/.-]\d", str(column.iloc[0])):
        return [_parsed(column, dayfirst=False)]
    try:
        month_first = [_parsed(column, dayfirst=False)]
    except ValueError:
        return [_parsed(column, dayfirst=True)]
    try:
        return [*month_first, _parsed(column, dayfirst=True)]
    except ValueError:
        return month_first


def _parsed(column: pandas.Series[Any], *, dayfirst: bool) -> pandas.DatetimeIndex:
    import pandas

    try:
        return pandas.DatetimeIndex(pandas.to_datetime(column, dayfirst=dayfirst))
    except ValueError:
        # Local times with their offsets, which change with the season, are one series in UTC.
        return pandas.DatetimeIndex(pandas.to_datetime(column, dayfirst=dayfirst, utc=True))


def is_numeric(column: pandas.Series[Any]) -> bool:
    """Tell whether a column holds numbers."""
    import pandas

    return bool(pandas.api.types.is_numeric_dtype(column))


def check_order(stamps: pandas.Index[Any], field: str) -> None:
    """Raise ValueError, beginning with `field`, where times are missing, come twice, or go back."""
    if stamps.hasnans:
        raise ValueError(f"{field}: {np.count_nonzero(stamps.isna())} rows have no time")
    if stamps.has_duplicates:
        twice = stamps[stamps.duplicated()]
        raise ValueError(
            f"{field}: {len(twice)} rows have the time of a row before, the first {twice[0]}; take one "
            "series (where: column=value), or leave rows out"
        )
    if not stamps.is_monotonic_increasing:
        row = int(np.flatnonzero(stamps[1:] < stamps[:-1])[0]) + 2
        raise ValueError(f"{field}: time goes back in row {row}, at {stamps[row - 1]}; sort the rows by time")


def continue_times(
    stamps: pandas.Index[Any], steps: int, *, every: str | None = None
) -> list[str] | list[float] | None:
    """Return the next `steps` times where those given are regular (every hour, day, month, ...), else None.

    `every` says in what steps, where that is known beforehand.
    """
    import pandas

    if not isinstance(stamps, pandas.DatetimeIndex):
        values = stamps.to_numpy(dtype=np.float64)
        distance = np.diff(values)
        if not len(distance) or not np.allclose(distance, distance[0]):
            return None
        return [float(values[-1] + distance[0] * step) for step in range(1, steps + 1)]
    if every is not None:
        return [str(stamp) for stamp in pandas.date_range(stamps[-1], periods=steps + 1, freq=every)[1:].astype(str)]
    if len(stamps) < 2:
        return None
    months = 12 * (stamps[1].year - stamps[0].year) + stamps[1].month - stamps[0].month
    for frequency in (
        stamps[1] - stamps[0],
        pandas.DateOffset(months=months),
        pandas.offsets.MonthEnd(months),
        pandas.offsets.BDay(),
    ):
        if pandas.date_range(stamps[0], periods=len(stamps), freq=frequency).equals(stamps):
            following = pandas.date_range(stamps[-1], periods=steps + 1, freq=frequency)[1:]
            return [str(stamp) for stamp in following.astype(str)]
    return None


def plain_times(stamps: pandas.Index[Any]) -> list[Any]:
    """Return times as texts, numbers as they are: fit for JSON."""
    return stamps.tolist() if is_numeric(stamps.to_series()) else [str(stamp) for stamp in stamps.astype(str)]
