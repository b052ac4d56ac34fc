"""No forecast knows what comes after its origin: walking forward equals predicting from the rows so far alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import workloads
from tests.conftest import FolderStorage
from workloads.protocol import Dataset, Workload
from workloads.tasks.forecast_predictor import ForecastPredictor
from workloads.tasks.forecasting import forecast_rows

ROWS, TRAIN, HORIZON = 150, 90, 3
COLUMNS = ("price", "demand", "wind")
PARAMS = {"cell_type": "gru", "hidden_size": 5, "batch_size": 2, "truncation_length": 8, "learning_rate": 0.05}
SHORT = {"sequence_steps": 400, "evaluations": 1}
OPTIONS: dict[str, dict[str, Any]] = {
    "values": {"target": ("price", "demand"), "covariates": ("wind",), "calendar": ("hour", "day_of_year")},
    "differences": {"target": "demand", "transform": "difference", "lags": (1, 24), "covariates": ("wind",)},
    "returns": {"target": "price", "transform": "log_return", "covariates": ("wind",), "quantiles": (0.1, 0.5, 0.9)},
    "volatility": {"target": "price", "transform": "log_volatility", "covariates": ("wind",), "lags": (5,)},
    "known": {"target": "demand", "covariates": ("wind",), "known": ("holiday",), "calendar": ("weekday",)},
}


def table(*, gaps: bool) -> pandas.DataFrame:
    random = np.random.default_rng(7)
    frame = pandas.DataFrame(
        {
            "time": pandas.date_range("2024-02-20", periods=ROWS, freq="6h"),
            "price": 50 * np.exp(random.normal(0, 0.02, ROWS).cumsum()),
            "demand": random.normal(0, 1, ROWS).cumsum() + 30,
            "wind": random.gamma(2.0, 2.0, ROWS) + 0.1,
            "holiday": (random.random(ROWS) < 0.2).astype(float),
        }
    )
    if gaps:
        for name in COLUMNS:
            frame.loc[random.choice(np.arange(1, ROWS - HORIZON), 12, replace=False), name] = np.nan
        frame = frame.drop(index=[20, 21, 100, 130]).reset_index(drop=True)
    return frame


def prepared(frame: pandas.DataFrame, folder: Path, options: dict[str, Any]) -> tuple[Workload, Dataset]:
    path = folder / "table.parquet"
    frame.to_parquet(path)
    shared = {"series": str(path), "horizon": HORIZON, "every": "6h", "gaps": "carry"}
    rows = {"train_rows": TRAIN, "valid_rows": 30, "test_rows": 20}
    workload = workloads.load("forecast", {**shared, **rows, **options})
    return workload, workload.prepare()


@cache
def trained(name: str, gaps: bool, folder: Path) -> tuple[ForecastPredictor, Dataset]:
    """Return a model whose forecasts are anything but naive, and what it was trained on."""
    torch.set_num_threads(1)
    workload, dataset = prepared(table(gaps=gaps), folder, OPTIONS[name])
    storage = FolderStorage(folder)
    progress = next(iter(workload.train({**PARAMS, **SHORT}, dataset, storage)))
    predictor = workload.predictor(storage.read(progress.checkpoint))
    assert isinstance(predictor, ForecastPredictor)
    return predictor, dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("walk")


def walk(predictor: ForecastPredictor, dataset: Dataset) -> np.ndarray:
    """Return the forecasts of evaluation, in the units of the targets: (rows, horizon, targets, quantiles)."""
    facts, levels = predictor.facts, dataset.arrays["levels"]
    changes = forecast_rows(predictor.network, dataset.arrays, range(len(levels) - HORIZON), facts)
    std = np.array(facts["level_std"])[:, None]
    values = (levels[: len(changes), None, :, None] + changes) * std
    return np.exp(values) if facts["logarithmic"] else values


each = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "with-gaps"])
@pytest.mark.parametrize("name", OPTIONS)
@each
@given(back=st.integers(0, 40))
def test_walking_forward_equals_predicting_from_the_rows_so_far_alone(
    name: str, gaps: bool, back: int, folder: Path
) -> None:
    predictor, dataset = trained(name, gaps, folder)
    forecasts = walk(predictor, dataset)
    frame = table(gaps=gaps)
    targets = list(predictor.reading.targets)
    # An origin must be a row of the table: what follows its absence is not known yet.
    grid = pandas.date_range(frame["time"].iloc[0], frame["time"].iloc[-1], freq="6h")
    lost = len(grid) - len(dataset.arrays["levels"])
    origin = frame.index[-1 - HORIZON - back]
    if predictor.reading.known and frame.loc[origin, targets].isna().all():
        origin -= 1
    place = grid.get_loc(frame.loc[origin, "time"]) - lost
    history = frame.loc[:origin].copy()
    if predictor.reading.known:
        ahead = pandas.DataFrame({"time": grid[place + lost + 1 : place + lost + 1 + HORIZON]})
        ahead = ahead.merge(frame[["time", "holiday"]], how="left")
        ahead["holiday"] = pandas.concat([history["holiday"], ahead["holiday"]]).ffill().iloc[-HORIZON:].to_numpy()
        history = pandas.concat([history, ahead], ignore_index=True)
    answer = predictor.predict({column: history[column].tolist() for column in history}, {})
    said = np.array([values for column, values in answer.items() if column not in ("step", "time")]).T
    assert said == pytest.approx(forecasts[place].reshape(HORIZON, -1), rel=1e-4)
    assert answer["time"] == grid[place + lost + 1 : place + lost + 1 + HORIZON].astype(str).tolist()


@pytest.mark.parametrize("name", OPTIONS)
@each
@given(
    origin=st.integers(TRAIN - 1, ROWS - HORIZON - 15),
    column=st.sampled_from(COLUMNS),
    values=st.lists(st.one_of(st.just(np.nan), st.floats(0.1, 1e4)), min_size=1, max_size=4),
)
def test_nothing_after_an_origin_changes_a_forecast_up_to_it(
    name: str, origin: int, column: str, values: list[float], folder: Path
) -> None:
    predictor, dataset = trained(name, False, folder)
    lost = ROWS - len(dataset.arrays["levels"])
    origin += lost  # rows for training are counted behind those that a transform uses up
    frame = table(gaps=False)
    frame.loc[origin + 1 : origin + len(values), column] = values
    _, other = prepared(frame, folder, OPTIONS[name])
    before, after = walk(predictor, dataset), walk(predictor, other)
    stop = origin + 1 - lost
    assert (before[:stop] == after[:stop]).all()
    for fact in ("mean", "std", "level_std", "known_mean", "known_std", "naive_errors", "chance_loss"):
        assert dataset.facts[fact] == other.facts[fact]
    if column in predictor.reading.columns and np.isfinite(values[0]):
        assert (before[stop:] != after[stop:]).any()


def test_what_is_known_ahead_changes_forecasts_from_the_horizon_before_on(folder: Path) -> None:
    predictor, dataset = trained("known", False, folder)
    frame = table(gaps=False)
    row = 120
    frame.loc[row, "holiday"] = 1 - frame.loc[row, "holiday"]
    before, after = walk(predictor, dataset), walk(predictor, prepared(frame, folder, OPTIONS["known"])[1])
    changed = np.flatnonzero((before != after).any(axis=(1, 2, 3)))
    assert changed[0] == row - HORIZON
