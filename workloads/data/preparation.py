"""How a table becomes what a network reads: the same for the one it is trained on and for a history it continues."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.data.calendar import calendar_columns
from workloads.data.regular import carry_forward, put_on_grid, refuse_gaps, tell_carried, tell_irregular
from workloads.data.series import check_order, numbers, times
from workloads.data.tables import select
from workloads.data.transforms import lag_changes, levels_of, lost_rows, stationary

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True)
class Rows:
    """What a table says, in the order of time and without gaps."""

    values: np.ndarray
    """Targets, then covariates, in their own units: (rows, columns)."""
    filled: np.ndarray
    """Where a target's value was carried forward: (rows, targets)."""
    known: np.ndarray
    """What is known ahead: (rows and those behind the last target, columns)."""
    stamps: pandas.Index[Any] | None
    """Of the same rows as `known`."""
    notes: list[str]
    """What was filled, left out or is irregular, in words."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a network reads, before it is scaled; rows at the beginning that a transform uses up are left out."""

    inputs: np.ndarray
    """(rows, names): NaN where a lag or a difference reaches back before the first row."""
    names: list[str]
    calendar: np.ndarray
    """(rows, 2 * calendar)"""
    known: np.ndarray
    """(rows and those behind them, known)"""
    levels: np.ndarray
    """What is forecast, its logarithm where the transform takes one: (rows, targets)."""
    observed: np.ndarray
    """The levels, NaN where they were filled: (rows, targets)."""
    stamps: pandas.Index[Any] | None
    """Of the same rows as `known`."""
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Reading:
    """The columns to read and how; plain values, so that a trained model carries it along."""

    targets: tuple[str, ...]
    covariates: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    calendar: tuple[str, ...] = ()
    lags: tuple[int, ...] = ()
    time: str | None = None
    where: str | None = None
    gaps: str = "refuse"
    every: str | None = None
    transform: str = "none"
    volatility_window: int = 5

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Reading:
        """Read what `plain` wrote, after JSON made its tuples lists."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()
        }
        return cls(**values)

    def plain(self) -> dict[str, Any]:
        """Return plain values, fit for JSON."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @property
    def columns(self) -> list[str]:
        """Return the columns of values: targets, then covariates."""
        return [*self.targets, *self.covariates]

    def rows(self, frame: pandas.DataFrame, *, history: bool = False) -> Rows:
        """Return the rows of a table; of a history, time may be missing and errors are told of `history`.

        Rows behind the last value of any target are future ones where columns are known ahead.
        """
        if not len(frame):
            raise ValueError(f"{self._field('series', history)}: no rows")
        if self.where is not None and not (history and self.where.partition("=")[0] not in frame.columns):
            frame = select(frame, self.where, self._field("where", history))
        stamps = self._stamps(frame, history)
        values, known = self._numbers(frame, history)
        table, notes, absent = np.concatenate([values, known], axis=1), [], 0
        if self.every is not None:
            stamps, table, absent = put_on_grid(stamps, table, self.every, field=self._field("every", history))
            if absent and self.gaps == "carry":
                notes.append(f"{absent:,} absent rows were put in, for a row every {self.every}")
        elif not history:
            notes += tell_irregular(stamps)
        width = len(self.columns)
        stop = len(table)
        if self.known:
            there = np.flatnonzero(~np.isnan(table[:, : len(self.targets)]).all(axis=1))
            stop = int(there[-1]) + 1 if len(there) else 0
        missing = np.isnan(table)
        missing[stop:, :width] = False  # values of the future are not missing
        if self.gaps == "refuse":
            field = self._field("series", history)
            refuse_gaps(table[:stop, :width], self.columns, field=field, absent=absent)
            refuse_gaps(table[:, width:], self.known, field=field, absent=0)
        carried = carry_forward(table)
        first, skipped = _first_whole(carried[:stop])
        notes += skipped + tell_carried(missing[first:], [*self.columns, *self.known])
        return Rows(
            values=carried[first:stop, :width],
            filled=missing[first:stop, : len(self.targets)],
            known=carried[first:, width:],
            stamps=None if stamps is None else stamps[first:],
            notes=notes,
        )

    def prepare(self, rows: Rows, *, history: bool = False) -> Prepared:
        """Return what a network reads of these rows; ValueError where a value has no logarithm."""
        field, count, lost = self._field("transform", history), len(self.targets), lost_rows(self)
        inputs, names = stationary(rows.values, self, field=field)
        levels = levels_of(rows.values[:, :count], self, field=field)
        filled = np.zeros_like(rows.filled[lost:])
        # A volatility is filled where any of the prices it is made of is.
        for back in range(lost + 1 if self.transform == "log_volatility" else 1):
            filled |= rows.filled[lost - back : len(rows.filled) - back]
        stamps = None if rows.stamps is None else rows.stamps[lost:]
        lagged, lagged_names = lag_changes(levels, self)
        here = None if stamps is None else stamps[: len(levels)]
        return Prepared(
            inputs=np.concatenate([inputs, lagged], axis=1),
            names=names + lagged_names,
            calendar=calendar_columns(self.calendar, here, len(levels), field=self._field("calendar", history)),
            known=rows.known[lost:],
            levels=levels,
            observed=np.where(filled, np.nan, levels),
            stamps=stamps,
            notes=rows.notes,
        )

    def _field(self, name: str, history: bool) -> str:
        return "history" if history else f"workload.{name}"

    def _stamps(self, frame: pandas.DataFrame, history: bool) -> pandas.Index[Any] | None:
        if self.time is None or (history and self.time not in frame.columns):
            return None
        field = self._field("time", history)
        stamps = times(frame[self.time], field)
        check_order(stamps, field)
        return stamps

    def _numbers(self, frame: pandas.DataFrame, history: bool) -> tuple[np.ndarray, np.ndarray]:
        values = [
            numbers(frame, self.targets, self._field("target", history)),
            numbers(frame, self.covariates, self._field("covariates", history)),
        ]
        return np.concatenate(values, axis=1), numbers(frame, self.known, self._field("known", history))


def _first_whole(carried: np.ndarray) -> tuple[int, list[str]]:
    """Return the first row in which all columns have begun, and what to tell of those before it."""
    whole = ~np.isnan(carried).any(axis=1)
    first = int(np.argmax(whole)) if whole.any() else len(carried)
    return first, [f"the first {first:,} rows are left out: not all columns have begun there"] if first else []
