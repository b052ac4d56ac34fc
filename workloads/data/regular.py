"""Gaps and irregular times: what is missing is refused, or the last value is carried forward, counted and told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.data.calendar import dates

if TYPE_CHECKING:
    import pandas

MOST_ROWS = 20_000_000
"""Rows of a regular grid; more of them are a mistake in `every` or in a time."""


def put_on_grid(
    stamps: pandas.Index[Any] | None, values: np.ndarray, every: str, *, field: str
) -> tuple[pandas.DatetimeIndex, np.ndarray, int]:
    """Return times a step of `every` apart, the values there (NaN in rows that are absent), and how many are absent.

    ValueError, beginning with `field`, where `every` is no step of time, or a row lies between two points.
    """
    import pandas

    given = dates(stamps, field)
    try:
        step = pandas.tseries.frequencies.to_offset(every)
        # Counted before they are made: a mistyped year would make more than memory holds.
        near = given[: min(len(given), 2)]
        length = pandas.date_range(near[0], periods=2, freq=step)[-1] - near[0]
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{field}: {every!r} is no step of time; it must be as 1h, 15min, 1D or MS") from error
    if length <= pandas.Timedelta(0) or (given[-1] - given[0]) / length > MOST_ROWS:
        raise ValueError(f"{field}: a row every {every} from {given[0]} to {given[-1]} is more than {MOST_ROWS:,} rows")
    grid = pandas.date_range(given[0], given[-1], freq=step)
    places = grid.get_indexer(given)
    if (places < 0).any():
        first = int(np.flatnonzero(places < 0)[0])
        raise ValueError(
            f"{field}: {np.count_nonzero(places < 0)} rows lie off the grid of every {every} from {given[0]}, "
            f"the first {given[first]} in row {first + 1}; round the times, or choose a finer step"
        )
    spread = np.full((len(grid), values.shape[1]), np.nan)
    spread[places] = values
    return grid, spread, len(grid) - len(given)


def refuse_gaps(values: np.ndarray, names: Sequence[str], *, field: str, absent: int) -> None:
    """Raise ValueError, beginning with `field`, where a value is missing."""
    if absent:
        raise ValueError(
            f"{field}: {absent} rows are absent from the regular grid (every); gaps: carry carries the last value over"
        )
    for name, column in zip(names, values.T, strict=True):
        gaps = int(np.count_nonzero(np.isnan(column)))
        if gaps:
            raise ValueError(
                f"{field}: column {name} has {gaps} gaps (empty, NaN or infinite) in {len(column)} rows; fill them, "
                "leave these rows out, or carry the last value over them (gaps: carry)"
            )


def carry_forward(values: np.ndarray) -> np.ndarray:
    """Return `values` (rows, columns) with the last value before it in each gap; NaN stays before the first."""
    rows = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, rows), axis=0)
    carried: np.ndarray = np.where(last >= 0, np.take_along_axis(values, np.maximum(last, 0), axis=0), np.nan)
    return carried


def tell_carried(missing: np.ndarray, names: Sequence[str]) -> list[str]:
    """Say how many values were carried forward; `missing` is (rows, columns)."""
    counts = [(int(amount), name) for amount, name in zip(missing.sum(axis=0), names, strict=True) if amount]
    if not counts:
        return []
    told = ", ".join(f"{amount:,} of {name}" for amount, name in counts)
    return [f"in {len(missing):,} rows the last value was carried over gaps: {told}; no filled target is scored"]


def tell_irregular(stamps: pandas.Index[Any] | None) -> list[str]:
    """Say how irregular the times are; nothing where all steps are alike, or all months."""
    import pandas

    if not isinstance(stamps, pandas.DatetimeIndex) or len(stamps) < 3:
        return []
    steps = pandas.Series(stamps[1:] - stamps[:-1])
    usual = steps.mode().iloc[0]
    others = int((steps != usual).sum())
    by_month = steps.min() >= pandas.Timedelta(days=28) and steps.max() <= pandas.Timedelta(days=366)
    if not others or by_month:
        return []
    longest = in_words(steps.max())
    return [
        f"times are irregular: {others:,} of {len(steps):,} steps are not {in_words(usual)}, the longest is {longest}"
    ]


def in_words(step: pandas.Timedelta) -> str:
    """Return a step of time as `7 days` or `1 days 06:00:00`."""
    days = step.total_seconds() / 86_400
    return f"{days:.0f} day{'' if days == 1 else 's'}" if days and days == int(days) else str(step)
