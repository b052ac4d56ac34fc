"""Forecasting: the next values of one or several time series, as points or as quantiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.cost.sizes import Sizes, bytes_of
from workloads.data.calendar import PHASES
from workloads.data.catalogue import ENTRIES, SeriesDefaults
from workloads.data.forecast_dataset import Aim, forecast_dataset
from workloads.data.forecasts import Parts
from workloads.data.preparation import Reading
from workloads.data.series import time_column
from workloads.data.tables import read_table, select
from workloads.data.transforms import TRANSFORMS, lost_rows
from workloads.hyperparameters import read_hyperparameters
from workloads.options import option

if TYPE_CHECKING:
    import pandas

    from workloads.hyperparameters import Hyperparameters
    from workloads.protocol import Dataset, Params, Predictor, Progress, Storage
    from workloads.updates import Task

DEFAULT_PART = 0.2


BYTES_SCORED = 48
"""For each number forecast in evaluation: itself, what came, and what is made of the two, in double precision."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The next `horizon` rows of a table, from all rows before them; validation and test on its last parts."""

    series: str = option("seattle-weather", "a name from `bptt data list`, or the path of a CSV or Parquet file")
    target: str | tuple[str, ...] | None = option(None, "column or columns to forecast; null: the catalogue's")
    covariates: tuple[str, ...] = option((), "further columns to read, known up to the present only")
    known: tuple[str, ...] = option((), "columns known ahead, such as holidays: read for the rows to forecast, too")
    calendar: tuple[str, ...] | None = option(
        None, f"parts of the rows' time to read: {', '.join(PHASES)}; null: the catalogue's"
    )
    lags: tuple[int, ...] = option((), "rows back whose targets are read beside each row's own, such as [24, 168]")
    time: str | None = option(
        None, "column of the time; null: one called date or time, or a first one of dates; none: none of them"
    )
    where: str | None = option(None, "the rows to take of a long table, as in origin=JFK; null: the catalogue's")
    every: str | None = option(
        None, "step of a regular grid to put the rows on, such as 1h or 1D; null: the catalogue's"
    )
    gaps: str | None = option(
        None,
        "refuse missing values and rows, or carry the last value over them; null: the catalogue's, else refuse",
        choices=("refuse", "carry"),
    )
    horizon: int = option(7, "rows ahead to forecast", at_least=1, at_most=10_000)
    season: int | None = option(
        None, "rows in a season, for the seasonal naive baseline; null: the catalogue's", at_least=1
    )
    quantiles: tuple[float, ...] | None = option(
        None, "levels from 0 to 1, 0.5 among them, rising; null: one value, by squared error"
    )
    transform: str | None = option(
        None,
        "log_return for prices, log_volatility for how much they move, difference for levels that drift; null: the "
        "catalogue's, else none",
        choices=TRANSFORMS,
    )
    volatility_window: int = option(5, "log returns that make one volatility", at_least=1, at_most=10_000)
    valid_part: float | None = option(None, "part of the rows to validate on; null: 0.2", above=0, below=1)
    test_part: float | None = option(None, "part of the rows, at the end, for the test; null: 0.2", at_least=0, below=1)
    train_rows: int | None = option(None, "rows to train on, instead of parts; the next two say the rest", at_least=1)
    valid_rows: int | None = option(None, "rows after them to validate on", at_least=1)
    test_rows: int | None = option(None, "rows after these for the test", at_least=0)

    def __post_init__(self) -> None:
        """Raise ValueError, naming the field, where options do not go together."""
        if self.target in ("", ()):
            raise ValueError("workload.target: empty; name a column, or several")
        self._check_quantiles()
        self._check_columns()
        self._check_parts()
        if self.season is not None and self._transform in ("log_return", "log_volatility"):
            raise ValueError(
                f"workload.season: prices (transform: {self._transform}) are not compared with a season ago"
            )

    def _check_quantiles(self) -> None:
        levels = self.quantiles
        if levels is not None and not (
            0.5 in levels and all(0 < level < 1 for level in levels) and list(levels) == sorted(set(levels))
        ):
            raise ValueError(
                f"workload.quantiles: {list(levels)}; they must rise, lie between 0 and 1, and hold 0.5, the median"
            )

    def _check_columns(self) -> None:
        unknown = [name for name in self.calendar or () if name not in PHASES]
        if unknown:
            raise ValueError(f"workload.calendar: {unknown[0]!r}; it must be of {', '.join(PHASES)}")
        if any(lag < 1 for lag in self.lags) or len(set(self.lags)) < len(self.lags):
            raise ValueError(f"workload.lags: {list(self.lags)}; rows back must be at least 1, each once")
        for field, names in (("covariates", self.covariates), ("known", self.known), ("calendar", self.calendar or ())):
            if len(set(names)) < len(names):
                raise ValueError(f"workload.{field}: {list(names)} names one twice")
        both = set(self.covariates) & set(self.known)
        if both:
            raise ValueError(
                f"workload.known: {both.pop()} is among the covariates; known columns are read in any case"
            )

    def _check_parts(self) -> None:
        if (self.train_rows is None) != (self.valid_rows is None) or (
            self.test_rows is not None and self.train_rows is None
        ):
            raise ValueError("workload.train_rows: train_rows and valid_rows go together, and test_rows with them")
        if self.train_rows is not None and (self.valid_part is not None or self.test_part is not None):
            raise ValueError("workload.valid_part: rows are given already, by train_rows, valid_rows and test_rows")
        if (self.valid_part or DEFAULT_PART) + (DEFAULT_PART if self.test_part is None else self.test_part) >= 1:
            raise ValueError("workload.valid_part: with test_part it leaves no rows to train on")

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
            "valid_mase": "minimize",
            "valid_smape": "minimize",
            "valid_direction_accuracy": "maximize",
        }

    def prepare(self) -> Dataset:
        """Read the table, take its parts, standardise by the training part, and score what needs no training."""
        frame, source = read_table(self.series)
        where = self.where or (self._defaults.where if self._defaults else None)
        if where is not None:
            frame, source = select(frame, where, "workload.where"), f"{source}, {where}"
        reading = self._reading(frame, where)
        rows = reading.rows(frame)
        parts = self._parts(max(len(rows.values) - lost_rows(reading), 0))
        if max(self.lags, default=0) >= parts.train:
            raise ValueError(
                f"workload.lags: {max(self.lags)} rows reach back before the series begins; {parts.train} are to train"
            )
        aim = Aim(self.series, self.horizon, parts, self._season(parts), self.quantiles)
        return forecast_dataset(reading, rows, aim, source=source)

    def _reading(self, frame: pandas.DataFrame, where: str | None) -> Reading:
        usual, targets, time = self._defaults, self._targets(frame), time_column(frame, self.time)
        for field, names in (("covariates", self.covariates), ("known", self.known)):
            if set(targets) & set(names):
                raise ValueError(f"workload.{field}: a target is among them; targets are read in any case")
        return Reading(
            targets=tuple(targets),
            covariates=self.covariates,
            known=self.known,
            calendar=self.calendar if self.calendar is not None else (usual.calendar if usual and time else ()),
            lags=self.lags,
            time=time,
            where=where,
            gaps=self.gaps or (usual.gaps if usual else "refuse"),
            every=self.every or (usual.every if usual else None),
            transform=self._transform,
            volatility_window=self.volatility_window,
        )

    @property
    def _defaults(self) -> SeriesDefaults | None:
        entry = ENTRIES.get(self.series)
        return entry.series if entry is not None else None

    @property
    def _transform(self) -> str:
        return self.transform or (self._defaults.transform if self._defaults else "none")

    def _season(self, parts: Parts) -> int | None:
        usual = self._defaults.season if self._defaults and self._transform in ("none", "difference") else None
        # What was not asked for is left out, not refused, where too few rows come before validation.
        return self.season or (usual if usual and usual <= parts.train else None)

    def _targets(self, frame: pandas.DataFrame) -> list[str]:
        if self.target is None and self._defaults is None:
            raise ValueError(f"workload.target: missing; the columns are {', '.join(map(str, frame.columns))}")
        target = self.target if self.target is not None or self._defaults is None else self._defaults.target
        targets = [target] if isinstance(target, str) else list(target or ())
        if len(set(targets)) < len(targets):
            raise ValueError(f"workload.target: {targets} names a column twice")
        return targets

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

    def check(self, params: Params) -> None:
        """Raise ValueError where `params` cannot be trained."""
        read_hyperparameters(params)

    @staticmethod
    def sizes(dataset: Dataset) -> Sizes:
        """Return what the cost of a trial depends on beside its hyperparameters."""
        facts, parts = dataset.facts, Parts(*dataset.facts["rows"])
        outputs = facts["horizon"] * len(facts["targets"]) * len(facts["quantiles"] or [0.5])
        rows = {part: len(parts.origins(part, facts["horizon"])) for part in ("train", "valid", "test")}
        return Sizes(
            output_size=outputs,
            input_size=facts["input_size"],
            data_bytes=bytes_of(dataset.arrays),
            training_steps=rows["train"],
            loss_copies=6.0,
            evaluation_bytes=(rows["valid"] + rows["test"]) * outputs * BYTES_SCORED,
        )

    def begin(self, params: Params, dataset: Dataset) -> tuple[Task, Hyperparameters]:
        """Return what training is given; its network's weights come from the seed."""
        # torch takes two seconds to load, and checking a sweep file must not wait for it.
        import torch

        from workloads.tasks.forecasting import ForecastTask

        h = read_hyperparameters(params)
        torch.manual_seed(h.seed)
        return ForecastTask(h, dataset.arrays, dict(dataset.facts)), h

    def train(
        self, params: Params, dataset: Dataset, storage: Storage, resume_from: str | None = None
    ) -> Iterator[Progress]:
        """Train one trial; see `workloads.training.train`."""
        from workloads.training import train

        yield from train(*self.begin(params, dataset), storage, resume_from)

    def predictor(self, checkpoint: bytes) -> Predictor:
        """Return a model that continues a history."""
        from workloads.tasks.forecast_predictor import ForecastPredictor

        return ForecastPredictor(checkpoint)
