"""A trained forecaster in use: a table of history in, a table of the next rows out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workloads.checkpoint import trained_network
from workloads.data.preparation import Prepared, Reading
from workloads.data.series import continue_times, plain_times
from workloads.data.transforms import lost_rows
from workloads.tasks.forecast_stream import ForecastStream
from workloads.tasks.forecasting import arrays_read, forecast_rows, in_units, make_network, name_columns


class ForecastPredictor:
    """Answers in the units of the history; a volatility where the model forecasts volatilities."""

    def __init__(self, checkpoint: bytes) -> None:
        self.network, self.facts = trained_network(checkpoint, make_network)
        self.reading = Reading.from_plain(self.facts["reading"])
        needs_time = self.reading.calendar or self.reading.every
        self.optional_columns = [self.reading.time] if self.reading.time is not None and not needs_time else []

    def example(self) -> tuple[dict[str, list[Any]], dict[str, Any]]:
        """Return the last rows of the training part; there are no options."""
        return self.facts["example"], {}

    def predict(self, columns: Mapping[str, list[Any]], options: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Continue a history, one row for each time step, the longer the better.

        Where columns are known ahead, it holds them for the rows to forecast, too, targets left empty there. Returns
        `step` from 1 to the horizon, the time where that of the history is regular or given, and each target: its
        forecast, or one column for each quantile (`temp_max_q0.1`); of prices whose volatility is forecast, that
        (`Adj Close_volatility`). ValueError says what is wrong with the history.
        """
        import pandas

        horizon = self.facts["horizon"]
        rows = self.reading.rows(pandas.DataFrame(dict(columns)), history=True)
        needed = lost_rows(self.reading) + 1
        if len(rows.values) < needed:
            raise ValueError(f"history: {len(rows.values)} rows; at least {needed} are needed")
        prepared = self.reading.prepare(rows, history=True)
        ahead = len(prepared.known) - len(prepared.levels)
        if self.reading.known and ahead < horizon:
            raise ValueError(
                f"history: {', '.join(self.reading.known)} must be known {horizon} rows ahead, and {ahead} rows follow "
                "the last one with a target; add rows with the targets left empty"
            )
        answer: dict[str, list[Any]] = {"step": list(range(1, horizon + 1))}
        following = self._following(prepared)
        if following is not None and self.reading.time is not None:
            answer[self.reading.time] = following
        arrays = arrays_read(prepared, self.facts)
        change = forecast_rows(self.network, arrays, range(len(prepared.levels)), self.facts)[-1:]
        forecast = in_units(change, prepared.levels[-1:], self.facts)[0]  # (horizon, targets, quantiles)
        return answer | name_columns(forecast, self.reading, self.facts["quantiles"])

    def stream(self) -> ForecastStream:
        """Return the model to be fed row by row."""
        return ForecastStream(self.network, self.facts)

    def _following(self, prepared: Prepared) -> list[Any] | None:
        stamps, horizon = prepared.stamps, self.facts["horizon"]
        if stamps is None:
            return None
        if self.reading.known:
            return plain_times(stamps[len(prepared.levels) : len(prepared.levels) + horizon])
        return continue_times(stamps, horizon, every=self.reading.every)
