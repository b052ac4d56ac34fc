"""What needs no training to forecast a series, scored on exactly the points that a network is scored on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workloads.data.calendar import day_numbers
from workloads.data.forecast_scores import Measures
from workloads.data.forecasts import Parts, changes

if TYPE_CHECKING:
    import pandas

NEAR_DAYS = 7
"""Days before and behind a date that its climatology is the mean of, too."""
SHORTEST_CLIMATE = 2 * 365
"""Days of training below which no mean of a date says anything."""
SHOWN = {
    "naive": ("mse", "mae", "rmse", "mase", "smape", "pinball", "coverage"),
    "seasonal_naive": ("mse", "mae"),
    "day_of_year": ("mse", "mae"),
    "climatology": ("mse", "mae"),
    "always_up": ("direction_accuracy",),
}


@dataclass(frozen=True, slots=True)
class Series:
    """What baselines are made from: levels in standard deviations, (rows, targets)."""

    levels: np.ndarray
    observed: np.ndarray
    """The levels, NaN where they were filled."""
    parts: Parts
    horizon: int
    season: int | None
    """Rows in a season."""
    dates: pandas.DatetimeIndex | None
    """Of the rows, where a value depends on the date."""

    def actual(self, origins: np.ndarray) -> np.ndarray:
        """Return what came, as changes: (origins, horizon, targets), NaN where it is not known."""
        return changes(self.levels, origins, self.horizon, observed=self.observed)


def baseline_scores(
    series: Series, measures: Measures, *, prices: bool, targets: Sequence[str] = ()
) -> dict[str, float]:
    """Score what needs no training on validation and test, as `naive/valid_mse` and so on.

    `naive` repeats the last value (of prices, a return of zero), with the changes seen in training for quantiles;
    `seasonal_naive` repeats the value of the same step a season ago; `day_of_year` is the mean of the date in the
    training part, `climatology` that of the date and the week around it, both for series dated over two years;
    `always_up`, for prices, is the part of changes that are gains, of all `targets` and of each.
    """
    found: dict[str, float] = {}
    for part in ("valid", "test"):
        origins = series.parts.origins(part, series.horizon)
        if not len(origins):
            continue
        actual, last = series.actual(origins), series.levels[origins]
        for name, forecast in _forecasts(series, origins, measures.quantiles, prices=prices):
            scored = measures.scores(forecast, actual, last)
            found |= {f"{name}/{part}_{metric}": scored[metric] for metric in SHOWN[name] if metric in scored}
            if name == "always_up":
                ups = measures.by_target(forecast, actual, targets)
                found |= {f"{name}/{part}_{key}": value for key, value in ups.items() if key.startswith("direction")}
    return found


def _forecasts(
    series: Series, origins: np.ndarray, quantiles: Sequence[float] | None, *, prices: bool
) -> Iterator[tuple[str, np.ndarray]]:
    yield "naive", naive(series, origins, quantiles)
    if series.season is not None:
        yield "seasonal_naive", seasonal(series.levels, origins, series.horizon, season=series.season)[..., None]
    if series.dates is not None and covers_climate(series.dates[: series.parts.train]):
        for name, near in (("day_of_year", 0), ("climatology", NEAR_DAYS)):
            means = date_means(series.observed[: series.parts.train], series.dates, near=near)
            yield name, changes(series.levels, origins, series.horizon, observed=means)[..., None]
    if prices:
        yield "always_up", np.ones((len(origins), series.horizon, series.levels.shape[1], 1))


def naive(series: Series, origins: np.ndarray, quantiles: Sequence[float] | None) -> np.ndarray:
    """Forecast no change, (origins, horizon, targets, quantiles); quantiles are those of the changes in training."""
    unchanged = np.zeros((len(origins), series.horizon, series.levels.shape[1], 1))
    if not quantiles:
        return unchanged
    trained = series.actual(series.parts.origins("train", series.horizon))
    spread = np.moveaxis(np.nanquantile(trained, quantiles, axis=0), 0, -1)  # (horizon, targets, quantiles)
    # Its median is the last value itself, so quantiles below it lie below, those above it above.
    side = np.sign(np.asarray(quantiles) - 0.5)
    return unchanged + np.where(side < 0, np.minimum(spread, 0), np.where(side > 0, np.maximum(spread, 0), 0))


def naive_errors(series: Series) -> list[float]:
    """Return the mean absolute error within the training part of repeating the value of a season ago, by target.

    Of the last value where there is no season, or where seasons are all alike.
    """
    train = series.observed[: series.parts.train]
    errors = []
    for column in train.T:
        found = [np.abs(column[lag:] - column[:-lag]) for lag in (series.season, 1) if lag is not None]
        # Where every other row was filled, no value has its neighbour to be told from.
        means = [float(apart[np.isfinite(apart)].mean()) for apart in found if np.isfinite(apart).any()]
        errors.append(next((error for error in means if error > 0), 1.0))
    return errors


def seasonal(levels: np.ndarray, origins: np.ndarray, horizon: int, *, season: int) -> np.ndarray:
    """Forecast the value of the same step a season ago, or as many as it takes to be known: changes, as `changes`.

    ValueError where that is before the first row.
    """
    steps = np.arange(1, horizon + 1)
    back = steps - season * np.ceil(steps / season).astype(int)  # (horizon,), 0 or less
    if origins[0] + back.min() < 0:
        raise ValueError(
            f"workload.season: {season} rows reach back before the series begins; "
            f"{origins[0] + 1} rows come before validation"
        )
    moved: np.ndarray = levels[origins[:, None] + back] - levels[origins][:, None, :]
    return moved


def covers_climate(dates: pandas.DatetimeIndex) -> bool:
    """Tell whether the dates reach over two years."""
    return bool((dates[-1] - dates[0]).days >= SHORTEST_CLIMATE - 1)


def date_means(train: np.ndarray, dates: pandas.DatetimeIndex, *, near: int) -> np.ndarray:
    """Return for each of `dates` the mean that rows of the same date, and hour, have in training: (rows, targets).

    `train` are the first of these rows; dates at most `near` days away count too, and more where there are no others.
    """
    days = day_numbers(dates)
    hours, clock = np.unique(dates.hour * 60 + dates.minute, return_inverse=True)
    sums = np.zeros((366, len(hours), train.shape[1]))
    counts = np.zeros_like(sums)
    there = np.isfinite(train)
    place = (days[: len(train)], clock[: len(train)])
    np.add.at(sums, place, np.where(there, train, 0))
    np.add.at(counts, place, there)
    means = np.full_like(sums, np.nan)
    for reach in (near, NEAR_DAYS, 4 * NEAR_DAYS):
        around = [np.roll(table, shift, axis=0) for table in (sums, counts) for shift in range(-reach, reach + 1)]
        total, amount = sum(around[: 2 * reach + 1]), sum(around[2 * reach + 1 :])
        with np.errstate(invalid="ignore"):
            means = np.where(np.isnan(means), total / amount, means)
    means = np.where(np.isnan(means), np.nanmean(train, axis=0), means)
    found: np.ndarray = means[days, clock]
    return found
