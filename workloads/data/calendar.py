"""The calendar as numbers: where each row lies in the day, the week, the month and the year."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas

PHASES: dict[str, Callable[[pandas.DatetimeIndex], Any]] = {
    "hour": lambda stamps: (stamps.hour + stamps.minute / 60 + stamps.second / 3600) / 24,
    "weekday": lambda stamps: stamps.day_of_week / 7,
    "month_day": lambda stamps: (stamps.day - 1) / stamps.days_in_month,
    "day_of_year": lambda stamps: (stamps.day_of_year - 1) / (365 + stamps.is_leap_year),
}
"""Parts of a turn from 0 to 1."""


def calendar_columns(names: Sequence[str], stamps: pandas.Index[Any] | None, rows: int, *, field: str) -> np.ndarray:
    """Return a sine and a cosine for each of `names`, (rows, 2 * names), so that midnight lies beside 11 p.m.

    ValueError, beginning with `field`, where the rows have no dates.
    """
    if not names:
        return np.empty((rows, 0))
    turns = (
        2 * np.pi * np.stack([np.asarray(PHASES[name](dates(stamps, field)), dtype=float) for name in names], axis=1)
    )
    return np.stack([np.sin(turns), np.cos(turns)], axis=2).reshape(rows, -1)


def dates(stamps: pandas.Index[Any] | None, field: str) -> pandas.DatetimeIndex:
    """Return the times as dates; ValueError, beginning with `field`, where there are none, or numbers only."""
    import pandas

    if not isinstance(stamps, pandas.DatetimeIndex):
        there = "there is none" if stamps is None else "its times are numbers"
        message = f"{field}: a column of dates is needed, and {there}; the option time names it"
        raise ValueError(message)  # noqa: TRY004 - a table of the user's, not a type of ours
    return stamps


def day_numbers(stamps: pandas.DatetimeIndex) -> np.ndarray:
    """Return the day of the year, 0 to 365, counted as in a leap year so that each date has one number."""
    begins = np.array([0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335])
    days: np.ndarray = begins[stamps.month.to_numpy() - 1] + stamps.day.to_numpy() - 1
    return days
