"""A forecaster fed row by row: each row's forecasts as soon as it is there, equal to those of the whole history."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from workloads.data.forecasts import network_inputs
from workloads.data.preparation import Prepared, Reading, Rows
from workloads.data.series import is_numeric, plain_times, times
from workloads.data.transforms import lost_rows
from workloads.tasks.forecasting import arrays_read, in_units, name_columns, shaped
from workloads.tasks.stream import NetworkStream

if TYPE_CHECKING:
    import pandas

FIELD = "history"
AMBIGUOUS = re.compile(r"\s*\d{1,2}[/.-]\d{1,2}[/.-]\d")
"""Dates whose days and months only the dates after them tell apart."""


class ForecastStream(NetworkStream):
    """Keeps the last rows, as far back as transforms and lags reach, beside the network's state."""

    takes = "rows"

    def __init__(self, network: nn.Module, facts: Mapping[str, Any]) -> None:
        super().__init__(network)
        self._facts, self._reading = facts, Reading.from_plain(facts["reading"])
        self._lost = lost_rows(self._reading)
        self._kept = max(self._lost + max(self._reading.lags, default=0), 1)
        self._values = np.empty((0, len(self._reading.columns)))  # of the last rows, what was missing carried over
        self._known = np.empty((0, len(self._reading.known)))
        self._stamps: pandas.Index[Any] | None = None

    def feed(self, piece: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Return forecasts from every row of a table, of the rows that follow it in the series.

        A row for each `step` from 1 to the horizon, behind the time of the row forecast from; targets are called as
        by the predictor. Rows that a transform uses up have none. Where columns are known ahead, the piece ends with
        `horizon` rows of the future, targets left empty; with their values they come again in the next. ValueError says
        what is wrong with the piece, which then counts as never fed.
        """
        frame = self._joined(piece)
        before = len(self._values)
        if frame is None:
            return self._answer(np.empty(0, np.int64), None)
        rows = self._reading.rows(frame, history=True)
        if len(rows.values) <= max(self._lost, before):  # nothing new, or nothing that a transform does not use up
            prepared, origins = None, np.empty(0, np.int64)
        else:
            prepared = self._reading.prepare(rows, history=True)
            origins = np.arange(max(before - self._lost, 0), len(prepared.levels))
            self._check_ahead(prepared)
        answer = self._answer(origins, prepared)
        self._keep(rows)
        return answer

    def finish(self) -> dict[str, list[Any]]:
        """Return nothing: no row waits."""
        return self._answer(np.empty(0, np.int64), None)

    def _joined(self, piece: Mapping[str, list[Any]]) -> pandas.DataFrame | None:
        """Return the rows kept and the new ones behind them; None where there are no new ones."""
        import pandas

        reading, new = self._reading, pandas.DataFrame(dict(piece))
        column, _, value = (reading.where or "").partition("=")
        if column in new.columns:
            new = new[new[column].astype(str) == value]
        if not len(new):
            return None
        names = [*reading.columns, *reading.known]
        absent = [name for name in names if name not in new.columns]
        if absent:
            raise ValueError(f"{FIELD}: there is no column {absent[0]!r}; there are {', '.join(map(str, new.columns))}")
        if not len(self._values):
            missing = [name for name in names if pandas.isna(new[name].iloc[0])]
            if missing:
                raise ValueError(f"{FIELD}: the first row of a stream must have all its values; it has no {missing[0]}")
        kept = np.concatenate([self._values, self._known], axis=1)
        columns = {name: [*before, *new[name]] for name, before in zip(names, kept.T.tolist(), strict=True)}
        stamps = self._new_times(new)
        if stamps is not None and reading.time is not None:
            columns[reading.time] = [*(() if self._stamps is None else self._stamps), *stamps]
        return pandas.DataFrame(columns)

    def _new_times(self, new: pandas.DataFrame) -> pandas.Index[Any] | None:
        name = self._reading.time
        if name is None or (name not in new.columns and self._stamps is None):
            return None
        if name not in new.columns or (self._stamps is None and len(self._values)):
            raise ValueError(f"{FIELD}: the column {name} must be in all pieces of a stream, or in none")
        column = new[name]
        if not is_numeric(column) and column.astype(str).str.match(AMBIGUOUS).any():
            raise ValueError(f"{FIELD}: {column.iloc[0]}: in a stream dates are written as in 2024-12-31")
        stamps = times(column, FIELD)
        if getattr(stamps, "tz", None) is not None:
            raise ValueError(f"{FIELD}: {column.iloc[0]}: in a stream times have no offset from UTC; take it off")
        if self._stamps is not None and is_numeric(stamps.to_series()) != is_numeric(self._stamps.to_series()):
            raise ValueError(f"{FIELD}: the times of a stream must all be dates, or all numbers")
        return stamps

    def _check_ahead(self, prepared: Prepared) -> None:
        ahead, horizon = len(prepared.known) - len(prepared.levels), self._facts["horizon"]
        if self._reading.known and ahead < horizon:
            raise ValueError(
                f"{FIELD}: {', '.join(self._reading.known)} must be known {horizon} rows ahead, and {ahead} rows "
                "follow the last one with a target; end each piece with rows with the targets left empty"
            )

    def _answer(self, origins: np.ndarray, prepared: Prepared | None) -> dict[str, list[Any]]:
        horizon, name = self._facts["horizon"], self._reading.time
        answer: dict[str, list[Any]] = {}
        if prepared is not None and prepared.stamps is not None and name is not None:
            answer[name] = np.repeat(np.array(plain_times(prepared.stamps[origins]), object), horizon).tolist()
        answer["step"] = list(range(1, horizon + 1)) * len(origins)
        forecast = self._forecast(origins, prepared)  # (origins, horizon, targets, quantiles)
        return answer | name_columns(forecast.reshape(-1, *forecast.shape[2:]), self._reading, self._facts["quantiles"])

    def _forecast(self, origins: np.ndarray, prepared: Prepared | None) -> np.ndarray:
        if prepared is None:
            return shaped(np.empty(0), self._facts)
        window = network_inputs(arrays_read(prepared, self._facts), origins[:, None], self._facts["horizon"])
        outputs = self.run(torch.from_numpy(window))[:, 0].double().numpy()
        return in_units(shaped(outputs, self._facts), prepared.levels[origins], self._facts)

    def _keep(self, rows: Rows) -> None:
        count = len(rows.values)
        last = slice(max(count - self._kept, 0), count)
        self._values, self._known = rows.values[last], rows.known[last]
        self._stamps = None if rows.stamps is None else rows.stamps[last]

    def save(self) -> dict[str, Any]:
        """Return all that is carried from piece to piece."""
        import pandas

        stamps: torch.Tensor | None = None
        if isinstance(self._stamps, pandas.DatetimeIndex):
            stamps = torch.from_numpy(self._stamps.as_unit("us").asi8.copy())  # microseconds: int64 says dates
        elif self._stamps is not None:
            stamps = torch.from_numpy(self._stamps.to_numpy(np.float64, copy=True))
        kept = {"values": torch.from_numpy(self._values.copy()), "known": torch.from_numpy(self._known.copy())}
        return {**super().save(), **kept, "stamps": stamps}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `save` returned; ValueError where that was another model's."""
        import pandas

        super().restore(saved)
        self._values, self._known = saved["values"].numpy().copy(), saved["known"].numpy().copy()
        stamps = saved["stamps"]
        if stamps is None:
            self._stamps = None
        elif stamps.dtype == torch.int64:
            self._stamps = pandas.DatetimeIndex(stamps.numpy().astype("datetime64[us]"))
        else:
            self._stamps = pandas.Index(stamps.numpy())
