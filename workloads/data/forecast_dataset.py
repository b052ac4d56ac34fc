"""From prepared rows to a dataset: parts, scaling by the training part alone, baselines, and what a model carries."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.data.baselines import Series, baseline_scores, naive, naive_errors
from workloads.data.fingerprint import make_dataset
from workloads.data.forecast_scores import Measures
from workloads.data.forecasts import Parts, changes, input_size
from workloads.data.preparation import Prepared, Reading, Rows
from workloads.data.series import plain_times
from workloads.data.transforms import lost_rows

if TYPE_CHECKING:
    import pandas

    from workloads.protocol import Dataset

EXAMPLE_ROWS = 30
"""Rows of history in the example of a model's input."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What is forecast of a series and how it is judged."""

    name: str
    """Of the series."""
    horizon: int
    parts: Parts
    season: int | None
    quantiles: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Scaling:
    """Means and standard deviations, by column, in the training part alone."""

    mean: np.ndarray
    std: np.ndarray
    known_mean: np.ndarray
    known_std: np.ndarray
    level_std: np.ndarray
    """What changes are told in, for each target."""

    @classmethod
    def of(cls, reading: Reading, prepared: Prepared, train: int) -> Scaling:
        """Measure the first `train` rows; ValueError where a column that was asked for never changes in them."""
        mean, std = _spread(prepared.inputs[:train], prepared.names, always=len(reading.columns))
        known_mean, known_std = _spread(prepared.known[:train], reading.known, always=len(reading.known))
        # Of prices, those of their returns: the logarithm of a price itself has no deviation that means anything.
        returns = reading.transform == "log_return"
        level_std = std[: len(reading.targets)] if returns else prepared.levels[:train].std(axis=0)
        return cls(mean, std, known_mean, known_std, level_std)

    def plain(self) -> dict[str, list[float]]:
        """Return lists, fit for JSON."""
        return {field.name: getattr(self, field.name).tolist() for field in dataclasses.fields(self)}

    def arrays(self, prepared: Prepared) -> dict[str, np.ndarray]:
        """Return what a network is trained on."""
        inputs = scaled(prepared.inputs, self.mean, self.std)
        return {
            "inputs": np.concatenate([inputs, prepared.calendar], axis=1).astype(np.float32),
            "known": scaled(prepared.known, self.known_mean, self.known_std).astype(np.float32),
            # Levels differ by changes in standard deviations; float64, for prices have long logarithms.
            "levels": prepared.levels / self.level_std,
            "observed": prepared.observed / self.level_std,
        }


def forecast_dataset(reading: Reading, rows: Rows, aim: Aim, *, source: str) -> Dataset:
    """Scale by the training part, score what needs no training, and put all into a dataset."""
    prepared, train = reading.prepare(rows), aim.parts.train
    scaling = Scaling.of(reading, prepared, train)
    arrays = scaling.arrays(prepared)
    dates = _climate_dates(reading, prepared)
    series = Series(arrays["levels"], arrays["observed"], aim.parts, aim.horizon, aim.season, dates)
    notes = [*prepared.notes, *_check_changes(series)]
    logarithmic = reading.transform in ("log_return", "log_volatility")
    measures = Measures(aim.quantiles, scaling.level_std.tolist(), logarithmic, naive_errors(series))
    baselines = baseline_scores(series, measures, prices=reading.transform == "log_return", targets=reading.targets)
    if aim.quantiles:
        baselines["nominal/valid_coverage"] = round(aim.quantiles[-1] - aim.quantiles[0], 12)
    facts = {
        "reading": reading.plain(),
        "targets": list(reading.targets),
        "horizon": aim.horizon,
        "quantiles": list(aim.quantiles) if aim.quantiles else None,
        "input_size": input_size(arrays, aim.horizon),
        **scaling.plain(),
        "logarithmic": logarithmic,
        "naive_errors": measures.naive_errors,
        "rows": [aim.parts.train, aim.parts.valid, aim.parts.test],
        "filled": bool(np.isnan(prepared.observed).any()),
        "chance_loss": _chance_loss(series, measures),
        "baselines": baselines,
        "notes": notes,
        "example": example(reading, rows, stop=lost_rows(reading) + train, horizon=aim.horizon),
    }
    name = f"{', '.join(reading.targets)} of {aim.name}, {aim.horizon} rows ahead"
    return make_dataset(name=name, arrays=arrays, facts=facts, source="; ".join([source, *notes]), baselines=baselines)


def scaled(values: np.ndarray, mean: Sequence[float] | np.ndarray, std: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return values in standard deviations from the mean; what is not known is the mean."""
    apart: np.ndarray = np.nan_to_num((values - np.asarray(mean)) / np.asarray(std), nan=0.0)
    return apart


def example(reading: Reading, rows: Rows, *, stop: int, horizon: int) -> dict[str, list[Any]]:
    """Return a history that ends at row `stop`, and what is known of the rows behind it."""
    first, ahead = max(stop - EXAMPLE_ROWS, 0), horizon if reading.known else 0
    columns: dict[str, list[Any]] = {}
    if reading.time is not None and rows.stamps is not None:
        columns[reading.time] = plain_times(rows.stamps[first : stop + ahead])
    for name, values in zip(reading.columns, rows.values[first:stop].T, strict=True):
        columns[name] = [*values.tolist(), *[None] * ahead]
    for name, values in zip(reading.known, rows.known[first : stop + ahead].T, strict=True):
        columns[name] = values.tolist()
    return columns


def _spread(train: np.ndarray, names: Sequence[str], *, always: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation by column; ValueError where one of the first `always` never changes."""
    if not train.shape[1]:
        return np.empty(0), np.empty(0)
    mean, std = np.nanmean(train, axis=0), np.nanstd(train, axis=0)
    still = ~(std > 1e-10 * np.abs(mean))  # less is round-off
    for place in np.flatnonzero(still).tolist():
        if place < always:
            raise ValueError(
                f"workload.series: column {names[place]} never changes in the {len(train)} rows for training"
            )
    return mean, np.where(still, 1.0, std)


def _climate_dates(reading: Reading, prepared: Prepared) -> pandas.DatetimeIndex | None:
    import pandas

    stamps = prepared.stamps
    if reading.transform not in ("none", "difference") or not isinstance(stamps, pandas.DatetimeIndex):
        return None
    return stamps[: len(prepared.levels)]


def _check_changes(series: Series) -> list[str]:
    """Say how many changes have no direction; ValueError where a part has nothing that could be forecast."""
    told = []
    for part in ("valid", "test"):
        origins = series.parts.origins(part, series.horizon)
        if not len(origins):
            continue
        actual = series.actual(origins)
        if np.isnan(actual).all():
            raise ValueError(f"workload.series: the targets have no values of their own in the {part} part")
        if not np.nan_to_num(actual).any():
            raise ValueError(f"workload.series: the targets never change in the {part} part; nothing to forecast")
        still = int((actual == 0).sum())
        if still:
            told.append(f"{still:,} of {actual.size:,} {part} changes are zero and have no direction")
    return told


def _chance_loss(series: Series, measures: Measures) -> float:
    """Return the training loss of forecasting no change."""
    origins = series.parts.origins("train", series.horizon)
    unchanged = naive(series, origins, None)
    if measures.quantiles:
        unchanged = np.repeat(unchanged, len(measures.quantiles), axis=-1)
    actual = changes(series.levels, origins, series.horizon, observed=series.observed)
    loss = "pinball" if measures.quantiles else "mse"
    return measures.scores(unchanged, actual, series.levels[origins])[loss]


def skills(part: str, scored: Mapping[str, float], baselines: Mapping[str, float]) -> dict[str, float]:
    """Return 1 - error / error of each baseline, as `skill_naive`: 1 is perfect, below 0 is worse than the baseline."""
    names = {
        "skill_naive": ("mse", "naive"),
        "skill_seasonal": ("mse", "seasonal_naive"),
        "skill_day_of_year": ("mse", "day_of_year"),
        "skill_climatology": ("mse", "climatology"),
        "pinball_skill_naive": ("pinball", "naive"),
    }
    found = {}
    for skill, (metric, name) in names.items():
        beside = baselines.get(f"{name}/{part}_{metric}", 0.0)
        if beside > 0 and metric in scored:
            found[skill] = 1 - scored[metric] / beside
    return found
