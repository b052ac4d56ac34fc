"""Forecasting: the next values of one or several time series, as points or as quantiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.data.catalogue import ENTRIES, SeriesDefaults
from workloads.data.fingerprint import make_dataset
from workloads.data.forecasts import Parts, changes, naive_scores, scores, stationary
from workloads.data.series import check_order, is_numeric, numbers, read_table, time_column, times
from workloads.hyperparameters import read_hyperparameters
from workloads.options import option

if TYPE_CHECKING:
    import pandas

    from workloads.protocol import Dataset, Params, Predictor, Progress, Storage

DEFAULT_PART = 0.2
EXAMPLE_ROWS = 30
"""Rows of history in the example of a model's input."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The next `horizon` rows of a table, from all rows before them; validation and test on its last parts."""

    series: str = option("seattle-weather", "a name from `bptt data list`, or the path of a CSV or Parquet file")
    target: str | tuple[str, ...] | None = option(None, "column or columns to forecast; null: the catalogue's")
    covariates: tuple[str, ...] = option((), "further columns to read, known up to the present only")
    time: str | None = option(
        None, "column of the time; null: one called date or time, or a first one of dates; none: none of them"
    )
    horizon: int = option(7, "rows ahead to forecast", at_least=1, at_most=10_000)
    season: int | None = option(
        None, "rows in a season, for the seasonal naive baseline; null: the catalogue's", at_least=1
    )
    quantiles: tuple[float, ...] | None = option(
        None, "levels from 0 to 1, 0.5 among them, rising; null: one value, by squared error"
    )
    transform: str | None = option(
        None, "log_return for prices; null: the catalogue's, else none", choices=("none", "log_return")
    )
    valid_part: float | None = option(None, "part of the rows to validate on; null: 0.2", above=0, below=1)
    test_part: float | None = option(None, "part of the rows, at the end, for the test; null: 0.2", at_least=0, below=1)
    train_rows: int | None = option(None, "rows to train on, instead of parts; the next two say the rest", at_least=1)
    valid_rows: int | None = option(None, "rows after them to validate on", at_least=1)
    test_rows: int | None = option(None, "rows after these for the test", at_least=0)

    def __post_init__(self) -> None:
        """Raise ValueError, naming the field, where options do not go together."""
        if self.target in ("", ()):
            raise ValueError("workload.target: empty; name a column, or several")
        levels = self.quantiles
        if levels is not None and not (
            0.5 in levels and all(0 < level < 1 for level in levels) and list(levels) == sorted(set(levels))
        ):
            raise ValueError(
                f"workload.quantiles: {list(levels)}; they must rise, lie between 0 and 1, and hold 0.5, the median"
            )
        if (self.train_rows is None) != (self.valid_rows is None) or (
            self.test_rows is not None and self.train_rows is None
        ):
            raise ValueError("workload.train_rows: train_rows and valid_rows go together, and test_rows with them")
        if self.train_rows is not None and (self.valid_part is not None or self.test_part is not None):
            raise ValueError("workload.valid_part: rows are given already, by train_rows, valid_rows and test_rows")
        if (self.valid_part or DEFAULT_PART) + (DEFAULT_PART if self.test_part is None else self.test_part) >= 1:
            raise ValueError("workload.valid_part: with test_part it leaves no rows to train on")
        if self.season is not None and self._transform == "log_return":
            raise ValueError("workload.season: prices (transform: log_return) are not compared with a season ago")

    @property
    def objectives(self) -> Mapping[str, str]:
        """Return the metrics that a sweep can aim at."""
        probabilistic = {"valid_pinball": "minimize", "valid_pinball_skill_naive": "maximize"} if self.quantiles else {}
        return {
            "valid_loss": "minimize",
            "valid_mse": "minimize",
            "valid_mae": "minimize",
            "valid_skill_naive": "maximize",
            **probabilistic,
        }

    def prepare(self) -> Dataset:
        """Read the table, take its parts, standardise by the training part, and score what needs no training."""
        frame, source = read_table(self.series)
        time = time_column(frame, self.time)
        if time is not None:
            check_order(times(frame[time], "workload.time"), "workload.time")
        targets = self._targets(frame)
        if set(targets) & set(self.covariates):
            raise ValueError("workload.covariates: a target is among them; targets are read in any case")
        columns = [*targets, *self.covariates]
        raw = numbers(frame, targets, "workload.target")
        if self.covariates:
            raw = np.concatenate([raw, numbers(frame, self.covariates, "workload.covariates")], axis=1)
        values = stationary(raw, self._transform, columns, field="workload.transform")
        parts = self._parts(len(values))
        mean, std = self._scaling(values[: parts.train], columns)
        # Levels differ from one another by changes in standard deviations; float64, for prices have long logarithms.
        levels = (np.log(raw[1:]) if self._transform == "log_return" else raw)[:, : len(targets)] / std[: len(targets)]
        baselines = self._baselines(levels, parts)
        return make_dataset(
            name=f"{', '.join(targets)} of {self.series}, {self.horizon} rows ahead",
            arrays={"inputs": ((values - mean) / std).astype(np.float32), "levels": levels},
            facts={
                "columns": columns,
                "targets": targets,
                "time": time,
                "horizon": self.horizon,
                "quantiles": list(self.quantiles) if self.quantiles else None,
                "transform": self._transform,
                "mean": mean.tolist(),
                "std": std.tolist(),
                "rows": [parts.train, parts.valid, parts.test],
                "chance_loss": self._chance_loss(levels, parts),
                "naive": {name[6:]: value for name, value in baselines.items() if name.startswith("naive/")},
                "example": _example(frame, time, columns, stop=len(frame) - len(values) + parts.train),
            },
            source=source,
            baselines=baselines,
        )

    @property
    def _defaults(self) -> SeriesDefaults | None:
        entry = ENTRIES.get(self.series)
        return entry.series if entry is not None else None

    @property
    def _transform(self) -> str:
        return self.transform or (self._defaults.transform if self._defaults else "none")

    def _targets(self, frame: pandas.DataFrame) -> list[str]:
        if self.target is not None:
            targets = [self.target] if isinstance(self.target, str) else list(self.target)
            if len(set(targets)) < len(targets):
                raise ValueError(f"workload.target: {targets} names a column twice")
            return targets
        if self._defaults is None:
            raise ValueError(f"workload.target: missing; the columns are {', '.join(map(str, frame.columns))}")
        return [self._defaults.target]

    def _parts(self, rows: int) -> Parts:
        if self.train_rows is not None and self.valid_rows is not None:
            parts = Parts(self.train_rows, self.valid_rows, self.test_rows or 0)
        elif self._defaults and self._defaults.rows and self.valid_part is None and self.test_part is None:
            parts = Parts(*self._defaults.rows)
        else:
            valid = int(rows * (self.valid_part or DEFAULT_PART))
            test = int(rows * (DEFAULT_PART if self.test_part is None else self.test_part))
            parts = Parts(rows - valid - test, valid, test)
        needed = {"train": self.horizon + 2, "valid": self.horizon, "test": self.horizon if parts.test else 0}
        short = [part for part, least in needed.items() if getattr(parts, part) < least]
        if short or parts.train + parts.valid + parts.test > rows:
            raise ValueError(
                f"workload.series: {self.series} has {rows} rows, too few for {parts.train} to train, {parts.valid} to "
                f"validate and {parts.test} to test, each more than the horizon of {self.horizon}"
            )
        return parts

    def _scaling(self, train: np.ndarray, columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
        mean, std = train.mean(axis=0), train.std(axis=0)
        for name, middle, spread in zip(columns, mean, std, strict=True):
            if not spread > 1e-10 * abs(middle):  # less is round-off
                raise ValueError(f"workload.series: column {name} never changes in the {len(train)} rows for training")
        return mean, std

    def _baselines(self, levels: np.ndarray, parts: Parts) -> dict[str, float]:
        for part in ("valid", "test"):
            origins = parts.origins(part, self.horizon)
            if len(origins) and not changes(levels, origins, self.horizon).any():
                raise ValueError(f"workload.series: the targets never change in the {part} part; nothing to forecast")
        usual = self._defaults.season if self._defaults and self._transform == "none" else None
        # What was not asked for is left out, not refused, where too few rows come before validation.
        season = self.season or (usual if usual and usual <= parts.train else None)
        found = naive_scores(levels, parts, self.horizon, season=season, quantiles=self.quantiles)
        if self.quantiles:
            found["nominal/valid_coverage"] = round(self.quantiles[-1] - self.quantiles[0], 12)
        return found

    def _chance_loss(self, levels: np.ndarray, parts: Parts) -> float:
        """Return the training loss of forecasting no change."""
        actual = changes(levels, parts.origins("train", self.horizon), self.horizon)
        unchanged = np.zeros((*actual.shape, len(self.quantiles or [0.5])))
        return scores(unchanged, actual, self.quantiles)["pinball" if self.quantiles else "mse"]

    def check(self, params: Params) -> None:
        """Raise ValueError where `params` cannot be trained."""
        read_hyperparameters(params)

    def train(
        self, params: Params, dataset: Dataset, storage: Storage, resume_from: str | None = None
    ) -> Iterator[Progress]:
        """Train one trial; see `workloads.training.train`."""
        # torch takes two seconds to load, and checking a sweep file must not wait for it.
        import torch

        from workloads.tasks.forecasting import ForecastTask
        from workloads.training import train

        h = read_hyperparameters(params)
        torch.manual_seed(h.seed)
        yield from train(ForecastTask(h, dataset.arrays, dict(dataset.facts)), h, storage, resume_from)

    def predictor(self, checkpoint: bytes) -> Predictor:
        """Return a model that continues a history."""
        from workloads.tasks.forecasting import ForecastPredictor

        return ForecastPredictor(checkpoint)


def _example(frame: pandas.DataFrame, time: str | None, columns: list[str], *, stop: int) -> dict[str, list[Any]]:
    rows = frame.iloc[max(stop - EXAMPLE_ROWS, 0) : stop]
    example: dict[str, list[Any]] = {}
    if time is not None:
        stamps = rows[time].tolist()
        example[time] = stamps if is_numeric(rows[time]) else [str(stamp) for stamp in stamps]
    return example | {name: [float(value) for value in rows[name]] for name in columns}
