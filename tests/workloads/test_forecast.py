"""Forecasting: what is read, what is scored, and what a trained model says in the units of the history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

import workloads
from tests.conftest import FolderStorage
from tests.workloads.waves import SMALL, prepared, train, waves
from workloads.data.catalogue import data_root
from workloads.protocol import Diverged, Progress

CHANGING = ("sequence_steps_per_second", "peak_memory_mb")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def waves_file(tmp_path: Path) -> str:
    path = tmp_path / "waves.csv"
    waves().to_csv(path, index=False)
    return str(path)


def measured(progress: Progress) -> dict[str, float]:
    return {name: value for name, value in progress.metrics.items() if name not in CHANGING}


def test_a_small_network_beats_the_naive_forecast(waves_file: str, storage: FolderStorage) -> None:
    _, progress = train(
        {"sequence_steps": 9000, "evaluations": 1}, storage, series=waves_file, target="tide", horizon=4
    )
    metrics = progress[-1].metrics
    assert metrics["valid_skill_naive"] > 0.8
    assert metrics["test_skill_naive"] > 0.8
    assert metrics["valid_loss"] == metrics["valid_mse"]


def test_an_untrained_network_scores_exactly_as_the_naive_forecast(waves_file: str, storage: FolderStorage) -> None:
    workload, dataset = prepared(series=waves_file, target=["tide", "wind"], horizon=4, season=19)
    params = {**SMALL, "learning_rate": 1e-12, "sequence_steps": 200, "evaluations": 1}
    metrics = next(iter(workload.train(params, dataset, storage))).metrics
    for name in ("valid_mse", "valid_mae", "test_mse", "test_mae"):
        assert metrics[name] == pytest.approx(dataset.baselines[f"naive/{name}"], rel=1e-6)
    assert metrics["valid_skill_naive"] == pytest.approx(0, abs=1e-6)
    assert "seasonal_naive/valid_mse" in dataset.baselines


def test_quantiles_cover_about_what_they_should(waves_file: str, storage: FolderStorage) -> None:
    options = {"series": waves_file, "target": "tide", "horizon": 2, "quantiles": [0.1, 0.5, 0.9]}
    workload, progress = train({"sequence_steps": 15_000, "evaluations": 1}, storage, **options)
    metrics = progress[-1].metrics
    assert metrics["valid_loss"] == metrics["valid_pinball"]
    assert metrics["valid_pinball_skill_naive"] > 0.5
    assert metrics["valid_coverage"] == pytest.approx(0.8, abs=0.2)
    assert workload.prepare().baselines["nominal/valid_coverage"] == 0.8
    assert set(workload.objectives) <= set(metrics)


@pytest.mark.parametrize(
    ("options", "params"),
    [
        ({"target": "tide"}, {}),
        ({"target": ["tide", "wind"], "quantiles": [0.2, 0.5]}, {"k1": 5, "cell_type": "lstm", "dropout": 0.2}),
        (
            {"target": "wind", "covariates": ["tide"], "transform": "log_return"},
            {"truncation_length": 100, "sequence_steps": 4000},
        ),
    ],
)
def test_a_resumed_trial_equals_an_uninterrupted_one(
    options: dict[str, Any], params: dict[str, Any], waves_file: str, storage: FolderStorage
) -> None:
    workload, dataset = prepared(series=waves_file, **options)
    whole = list(workload.train({**SMALL, **params}, dataset, storage))
    assert len(whole) == 3
    rest = list(workload.train({**SMALL, **params}, dataset, storage, whole[0].checkpoint))
    assert [measured(progress) for progress in rest] == [measured(progress) for progress in whole[1:]]


def test_scaling_and_training_know_nothing_of_what_comes_after_training(tmp_path: Path, storage: FolderStorage) -> None:
    path, frame = tmp_path / "later.csv", waves()
    options = {"series": str(path), "target": "tide", "train_rows": 400, "valid_rows": 100, "test_rows": 100}
    found = []
    for later in (1.0, 50.0):
        frame.loc[400:, "tide"] *= later
        frame.to_csv(path, index=False)
        workload, dataset = prepared(**options)
        progress = next(iter(workload.train(SMALL, dataset, storage)))
        found.append((dataset.facts["mean"], dataset.facts["std"], progress.metrics["train_loss"]))
        assert dataset.facts["mean"] == [pytest.approx(frame["tide"][:400].mean())]
    assert found[0] == found[1]


def test_forecasts_are_made_from_rows_up_to_their_own_and_no_further(waves_file: str, storage: FolderStorage) -> None:
    workload, progress = train({}, storage, series=waves_file, target="tide", horizon=3)
    predictor = workload.predictor(storage.read(progress[-1].checkpoint))
    frame = waves()
    one, other = frame[:200], frame[:200].copy()
    other.loc[199, "tide"] += 1
    answers = [predictor.predict({"tide": list(rows["tide"])}, {})["tide"] for rows in (one, other, one)]
    assert answers[0] == answers[2] != answers[1]


@pytest.mark.parametrize("transform", ["none", "log_return"])
def test_a_predictor_answers_in_the_units_and_dates_of_the_history(
    transform: str, waves_file: str, storage: FolderStorage
) -> None:
    options = {"series": waves_file, "target": "tide", "covariates": ["wind"], "horizon": 4, "transform": transform}
    workload, progress = train({"sequence_steps": 9000, "evaluations": 1}, storage, **options)
    predictor = workload.predictor(storage.read(progress[-1].checkpoint))
    history, future = waves(640)[:600], waves(640)[600:604]
    answer = predictor.predict({name: list(history[name]) for name in ("date", "tide", "wind")}, {})
    assert list(answer) == ["step", "date", "tide"]
    assert answer["step"] == [1, 2, 3, 4]
    assert answer["date"] == list(future["date"])
    assert answer["tide"] == pytest.approx(list(future["tide"]), abs=1.0)


def test_a_predictor_gives_one_rising_column_for_each_quantile(waves_file: str, storage: FolderStorage) -> None:
    options = {"series": waves_file, "target": ["tide", "wind"], "quantiles": [0.1, 0.5, 0.9], "horizon": 3}
    workload, progress = train({}, storage, **options)
    predictor = workload.predictor(storage.read(progress[-1].checkpoint))
    columns, given = predictor.example()
    answer = pandas.DataFrame(predictor.predict(columns, given))
    assert list(answer.columns) == ["step", "date", *(f"{t}_q{q}" for t in ("tide", "wind") for q in (0.1, 0.5, 0.9))]
    assert (answer["tide_q0.1"] <= answer["tide_q0.5"]).all()
    assert (answer["tide_q0.5"] <= answer["tide_q0.9"]).all()
    assert len(answer) == 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"wind": [1.0]}, "history: there is no column 'tide'; there are wind"),
        ({"tide": [1.0, "high"]}, "history: column tide is not of numbers: 'high' in row 2"),
        ({"tide": [1.0, None]}, "history: column tide has 1 gaps"),
        ({"tide": [1.0, 2.0], "date": ["2024-01-02", "2024-01-01"]}, "history: time goes back in row 2"),
        ({"tide": [1.0]}, "history: 1 rows; at least 2 are needed"),
    ],
)
def test_a_history_that_cannot_be_continued_is_refused(
    columns: dict[str, list[Any]], message: str, waves_file: str, storage: FolderStorage
) -> None:
    options = {"series": waves_file, "target": "tide", "transform": "log_return"}
    workload, progress = train({"sequence_steps": 500, "evaluations": 1}, storage, **options)
    predictor = workload.predictor(storage.read(progress[-1].checkpoint))
    with pytest.raises(ValueError, match=message):
        predictor.predict(columns, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "workload.target: missing; the columns are date, tide, wind, sky"),
        ({"target": "depth"}, "workload.target: there is no column 'depth'; there are date, tide, wind, sky"),
        ({"target": "sky"}, "workload.target: column sky is not of numbers: 'clear' in row 1"),
        ({"target": ["tide", "tide"]}, "workload.target: .* names a column twice"),
        ({"target": "tide", "covariates": ["rain"]}, "workload.covariates: there is no column 'rain'"),
        ({"target": "tide", "covariates": ["tide"]}, "workload.covariates: a target is among them"),
        ({"target": "tide", "time": "hour"}, "workload.time: there is no column 'hour'"),
        ({"target": "tide", "time": "sky"}, "workload.time: column sky holds no times"),
        ({"target": "tide", "horizon": 200}, "workload.series: .* has 600 rows, too few for 360 to train"),
        ({"target": "tide", "train_rows": 500, "valid_rows": 101}, "workload.series: .* 600 rows, too few for 500"),
        ({"target": "tide", "known": ["tide"]}, "workload.known: a target is among them"),
        ({"target": "tide", "lags": [360]}, "workload.lags: 360 rows reach back before the series begins; 360 are to"),
        ({"target": "tide", "time": "none", "calendar": ["hour"]}, "workload.calendar: a column of dates is needed"),
        ({"target": "tide", "time": "none", "every": "1h"}, "workload.every: a column of dates is needed"),
        ({"target": "tide", "every": "often"}, "workload.every: 'often' is no step of time"),
        ({"target": "tide", "every": "7D"}, "workload.every: 514 rows lie off the grid of every 7D .* 2020-01-02"),
        ({"target": "tide", "every": "12h"}, "workload.series: 599 rows are absent from the regular grid"),
        ({"target": "tide", "where": "sky=blue"}, "workload.where: no row has 'blue' in sky, which holds clear, grey"),
        ({"target": "tide", "season": 400}, "workload.season: 400 rows reach back before the series begins"),
    ],
)
def test_a_table_that_does_not_hold_what_is_asked_for_is_refused(
    options: dict[str, Any], message: str, waves_file: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        workloads.load("forecast", {"series": waves_file, **options}).prepare()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("batch_size", "seed"), [(1, 0), (8, 1), (32, 2)])
@pytest.mark.parametrize("quantiles", [None, [0.1, 0.5, 0.9]])
def test_spikes_and_storms_in_the_training_part_alone_are_no_divergence(
    batch_size: int, seed: int, quantiles: list[float] | None, tmp_path: Path, storage: FolderStorage
) -> None:
    demand = np.random.default_rng(seed).normal(10, 1, 1500)
    demand[700:702] = 150, 120
    demand[200:260] += np.random.default_rng(seed).normal(0, 20, 60)
    path = tmp_path / "spikes.csv"
    pandas.DataFrame({"demand": demand}).to_csv(path, index=False)
    options = {"series": str(path), "target": "demand", "quantiles": quantiles}
    params = {"batch_size": batch_size, "truncation_length": 4, "sequence_steps": 6000, "evaluations": 3}
    assert len(train(params, storage, **options)[1]) == 3


def test_a_forecast_whose_loss_explodes_has_diverged(waves_file: str, storage: FolderStorage) -> None:
    params = {"optimizer": "SGD", "learning_rate": 300.0, "max_grad_norm": None, "truncation_length": 4}
    with pytest.raises(Diverged, match=r"within \d+ sequence steps"):
        train(params, storage, series=waves_file, target="tide")


@pytest.mark.parametrize(
    "time",
    [
        None,
        pandas.date_range("2024-01-01", periods=600),
        pandas.date_range("2024-01-01", periods=600).astype(str),
        np.arange(600),
        np.arange(600) / 2,
        1_700_000_000 + 60 * np.arange(600),
    ],
    ids=["none", "dates", "texts", "integers", "halves", "unix"],
)
def test_a_predictor_takes_its_own_example_and_the_table_it_was_trained_on(
    time: Any, tmp_path: Path, storage: FolderStorage
) -> None:
    table = waves().drop(columns=["date", "sky"]).round(0).astype(int)
    if time is not None:
        table.insert(0, "time", time)
    table.to_parquet(tmp_path / "table.parquet")
    workload, progress = train({}, storage, series=str(tmp_path / "table.parquet"), target="tide", horizon=3)
    predictor = workload.predictor(storage.read(progress[-1].checkpoint))
    for columns in (predictor.example()[0], {name: table[name].tolist() for name in table}):
        answers = predictor.predict(columns, {})
        assert len(answers["tide"]) == 3
        assert ("time" in answers) == (time is not None)


@pytest.mark.parametrize("slope", [0.0, 0.5, 5.0])
def test_the_naive_forecast_is_the_last_value_with_quantiles_as_without(slope: float, tmp_path: Path) -> None:
    path = tmp_path / "trend.csv"
    series = slope * np.arange(600) + np.random.default_rng(0).normal(0, 0.1, 600)
    pandas.DataFrame({"value": series}).to_csv(path, index=False)
    point, quantiles = (
        prepared(series=str(path), target="value", quantiles=levels)[1].baselines for levels in (None, [0.1, 0.5, 0.9])
    )
    for name in ("naive/valid_mse", "naive/valid_mae", "naive/test_mse"):
        assert quantiles[name] == point[name]


@pytest.mark.parametrize(
    ("flat_from", "message"),
    [
        (0, "workload.series: column tide never changes in the 360 rows for training"),
        (359, "workload.series: the targets never change in the valid part"),
    ],
)
def test_a_series_that_never_changes_is_refused(flat_from: int, message: str, tmp_path: Path) -> None:
    frame = waves()
    frame.loc[flat_from:, "tide"] = 0.3  # whose standard deviation is round-off, not 0
    frame.to_csv(tmp_path / "flat.csv", index=False)
    with pytest.raises(ValueError, match=message):
        prepared(series=str(tmp_path / "flat.csv"), target="tide")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantiles": [0.9, 0.5]}, "workload.quantiles: .* must rise"),
        ({"quantiles": [0.1, 0.9]}, "workload.quantiles: .* hold 0.5, the median"),
        ({"quantiles": [0.5, 1.5]}, "workload.quantiles: .* lie between 0 and 1"),
        ({"quantiles": ["low"]}, "workload.quantiles: .* must be a list of numbers"),
        ({"covariates": [1]}, "workload.covariates: .* must be a list of texts"),
        ({"valid_part": 0.6, "test_part": 0.4}, "workload.valid_part: with test_part it leaves no rows"),
        ({"train_rows": 100}, "workload.train_rows: train_rows and valid_rows go together"),
        ({"train_rows": 10, "valid_rows": 10, "valid_part": 0.1}, "workload.valid_part: rows are given already"),
        ({"series": "sp500", "season": 5}, "workload.season: prices"),
        ({"series": "sp500", "transform": "log_volatility", "season": 5}, "workload.season: prices"),
        ({"calendar": ["moon"]}, "workload.calendar: 'moon'; it must be of hour, weekday, month_day, day_of_year"),
        ({"calendar": ["hour", "hour"]}, "workload.calendar: .* names one twice"),
        ({"lags": [0]}, "workload.lags: .* must be at least 1"),
        ({"lags": [1.5]}, "workload.lags: .* must be a list of integers"),
        ({"known": ["holiday"], "covariates": ["holiday"]}, "workload.known: holiday is among the covariates"),
        ({"gaps": "guess"}, "workload.gaps: 'guess'; it must be one of refuse, carry"),
        ({"horizon": 0}, "workload.horizon: 0; it must be an integer at least 1"),
        (
            {"transform": "square"},
            "workload.transform: 'square'; it must be one of none, difference, log_return, log_volatility",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_any_data_are_read(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        workloads.load("forecast", options)


def test_facts_survive_json_and_the_fingerprint_tells_tables_apart(waves_file: str, tmp_path: Path) -> None:
    _, one = prepared(series=waves_file, target="tide", quantiles=[0.25, 0.5])
    assert json.loads(json.dumps(one.facts)) == one.facts
    assert prepared(series=waves_file, target="tide", quantiles=[0.25, 0.5])[1].fingerprint == one.fingerprint
    assert prepared(series=waves_file, target="wind", quantiles=[0.25, 0.5])[1].fingerprint != one.fingerprint


def test_the_default_series_need_no_download_and_their_naive_errors_are_the_published_ones() -> None:
    # Root mean squared error of the last 20 %: persistence 3.06 degrees Celsius; a log return of zero 0.00862.
    for series, error in (("seattle-weather", 3.06), ("sp500", 0.00862)):
        _, dataset = prepared(series=series, horizon=1)
        assert dataset.baselines["naive/test_rmse"] == pytest.approx(error, rel=2e-3)
    assert dataset.baselines["always_up/test_direction_accuracy"] == pytest.approx(0.522, abs=5e-4)


@pytest.mark.parametrize(("horizon", "error"), [(24, 0.0343), (48, 0.0501), (168, 0.0872)])
def test_the_naive_errors_of_etth1_are_the_reference_ones(horizon: int, error: float) -> None:
    if not (data_root() / "etth1" / "ETTh1.csv").is_file():
        pytest.skip(f"ETTh1.csv is not under {data_root()}")
    _, dataset = prepared(series="etth1", horizon=horizon)
    assert dataset.facts["rows"] == [8640, 2880, 2880]
    assert dataset.baselines["naive/test_mse"] == pytest.approx(error, abs=5e-5)


def test_a_small_network_learns_the_default_series(storage: FolderStorage) -> None:
    params = {"hidden_size": 32, "truncation_length": 32, "batch_size": 8, "learning_rate": 3e-3}
    _, progress = train({**params, "sequence_steps": 30_000}, storage)
    metrics = progress[-1].metrics
    assert metrics["valid_skill_naive"] > 0.2
    assert all(metrics[f"test_skill_{name}"] > 0 for name in ("naive", "seasonal", "day_of_year", "climatology"))
    # The further ahead, the less is known.
    errors = [metrics[f"test_mse/step:{step}"] for step in (1, 2, 4)]
    assert errors == sorted(errors)
