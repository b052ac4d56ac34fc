"""Forecasting with columns known ahead, with gaps, and of volatilities: from a table to a model's answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import FolderStorage
from tests.workloads.waves import SMALL, prepared, train, waves
from workloads.hyperparameters import read_hyperparameters
from workloads.tasks.forecasting import ForecastTask


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_a_model_is_given_what_is_known_ahead_with_the_targets_left_empty(
    tmp_path: Path, storage: FolderStorage
) -> None:
    random = np.random.default_rng(0)
    holiday = (random.random(800) < 0.2).astype(float)
    frame = waves(800).drop(columns=["sky", "wind"]).assign(holiday=holiday)
    frame["tide"] = 20 + 5 * holiday + random.normal(0, 0.1, 800)  # nothing but the holiday says what comes
    frame.to_csv(tmp_path / "sales.csv", index=False)
    options = {"series": str(tmp_path / "sales.csv"), "target": "tide", "horizon": 3}
    params = {"sequence_steps": 12_000, "evaluations": 1, "truncation_length": 8}
    _, blind = train(params, storage, **options)
    workload, knowing = train(params, storage, **options, known=["holiday"])
    assert blind[-1].metrics["test_mse"] > 0.5
    assert knowing[-1].metrics["test_mse"] < 0.1
    predictor = workload.predictor(storage.read(knowing[-1].checkpoint))
    history = {"date": list(frame["date"][:203]), "tide": [*frame["tide"][:200], None, None, None]}
    answers = [
        predictor.predict({**history, "holiday": [*holiday[:200], *ahead]}, {}) for ahead in ([0, 1, 0], [1, 0, 0])
    ]
    assert [round(value / 5) for value in answers[0]["tide"]] == [4, 5, 4]
    assert [round(value / 5) for value in answers[1]["tide"]] == [5, 4, 4]
    assert answers[0]["date"] == list(frame["date"][200:203])
    with pytest.raises(
        ValueError, match=r"history: holiday must be known 3 rows ahead, and 0 rows follow the last one"
    ):
        predictor.predict({"tide": [20.0, 25.0], "holiday": [0.0, 1.0]}, {})
    columns, given = predictor.example()
    assert len(predictor.predict(columns, given)["tide"]) == 3


def test_gaps_are_carried_over_in_training_and_in_a_history(tmp_path: Path, storage: FolderStorage) -> None:
    frame = waves().drop(index=range(100, 110)).reset_index(drop=True)
    frame.loc[300:310, "tide"] = np.nan
    frame.to_csv(tmp_path / "gaps.csv", index=False)
    options = {"series": str(tmp_path / "gaps.csv"), "target": "tide", "covariates": ["wind"], "horizon": 2}
    carried = {"gaps": "carry", "every": "1D", "calendar": ["weekday"]}
    workload, progress = train({"sequence_steps": 9000, "evaluations": 1}, storage, **options, **carried)
    assert progress[-1].metrics["test_skill_naive"] > 0.5
    source = workload.prepare().source
    assert "10 absent rows were put in, for a row every 1D" in source
    assert "21 of tide, 10 of wind" in source
    predictor = workload.predictor(storage.read(progress[-1].checkpoint))
    history = frame[:308].astype(object).where(frame[:308].notna(), None)
    answer = predictor.predict({name: list(history[name]) for name in ("date", "tide", "wind")}, {})
    assert answer["date"] == ["2020-11-14", "2020-11-15"]
    with pytest.raises(ValueError, match="history: no rows"):
        predictor.predict({"date": [], "tide": [], "wind": []}, {})
    with pytest.raises(ValueError, match="history: a column of dates is needed"):
        predictor.predict({"tide": [1.0], "wind": [1.0]}, {})


def test_a_gap_teaches_nothing(tmp_path: Path) -> None:
    frame = waves()
    frame.loc[200:220, "tide"] = np.nan
    frame.to_csv(tmp_path / "gaps.csv", index=False)
    _, dataset = prepared(series=str(tmp_path / "gaps.csv"), target="tide", gaps="carry", horizon=3)
    task = ForecastTask(read_hyperparameters({**SMALL, "batch_size": 1}), dataset.arrays, dict(dataset.facts))
    _, targets = task.training.window(0, 190, 225)
    outputs = torch.zeros(35, 1, 3, requires_grad=True)
    loss, terms = task.loss(outputs, torch.from_numpy(targets))
    loss.backward()
    assert terms == np.isfinite(targets).sum() == 35 * 3 - 21 * 3
    assert outputs.grad is not None
    assert (outputs.grad[..., 0][np.isnan(targets[..., 0, 0])] == 0).all()
    assert torch.isfinite(outputs.grad).all()


def test_volatilities_are_answered_as_such(storage: FolderStorage) -> None:
    options = {"series": "sp500", "transform": "log_volatility", "horizon": 2, "quantiles": [0.1, 0.5, 0.9]}
    workload, progress = train({}, storage, **options)
    predictor = workload.predictor(storage.read(progress[-1].checkpoint))
    answer = predictor.predict(*predictor.example())
    assert list(answer)[-3:] == [f"Adj Close_volatility_q{level}" for level in (0.1, 0.5, 0.9)]
    assert all(0.001 < value < 0.1 for value in answer["Adj Close_volatility_q0.5"])
    with pytest.raises(ValueError, match="history: 5 rows; at least 6 are needed"):
        predictor.predict({"Adj Close": [1.0, 2.0, 1.0, 2.0, 3.0]}, {})
