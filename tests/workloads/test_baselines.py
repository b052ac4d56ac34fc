"""Scores and baselines, as written out by hand: naive, seasonal, the mean of the date, always up; errors by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.data.baselines import Series, baseline_scores, date_means, naive_errors, seasonal
from workloads.data.forecast_dataset import skills
from workloads.data.forecast_scores import Measures, chosen_steps, pinball
from workloads.data.forecasts import Parts


def series(levels: np.ndarray, parts: Parts, horizon: int, **options: Any) -> Series:
    known = {"observed": levels, "season": None, "dates": None, **options}
    return Series(levels, parts=parts, horizon=horizon, **known)


def measures(
    quantiles: list[float] | None = None, *, scale: float = 1.0, logarithmic: bool = False, targets: int = 1
) -> Measures:
    return Measures(quantiles, [scale] * targets, logarithmic, [1.0] * targets)


def test_naive_forecasts_are_scored_as_written_out_by_hand() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(60, 2)).cumsum(axis=0)
    parts, horizon, season = Parts(30, 15, 15), 4, 3
    naive, repeated = [], []
    for origin in range(29, 41):
        for step in range(1, horizon + 1):
            actual = values[origin + step]
            assert origin + step < 45
            naive.append(actual - values[origin])
            repeated.append(actual - values[origin + step - season * (1 if step <= season else 2)])
    found = baseline_scores(series(values, parts, horizon, season=season), measures(targets=2), prices=False)
    assert found["naive/valid_mse"] == pytest.approx(np.square(naive).mean())
    assert found["naive/valid_mae"] == pytest.approx(np.abs(naive).mean())
    assert found["seasonal_naive/valid_mse"] == pytest.approx(np.square(repeated).mean())
    with pytest.raises(ValueError, match=r"workload.season: 31 rows reach back before the series begins"):
        seasonal(values, parts.origins("valid", horizon), horizon, season=31)


def test_the_naive_quantiles_are_those_of_training_and_cover_as_they_say() -> None:
    values = np.random.default_rng(0).normal(size=(9000, 1)).cumsum(axis=0)
    known = series(values, Parts(5000, 4000, 0), 2)
    found = baseline_scores(known, measures([0.1, 0.5, 0.9]), prices=False)
    assert found["naive/valid_coverage"] == pytest.approx(0.8, abs=0.03)
    assert not any("test" in name for name in found)


def test_always_up_is_right_as_often_as_prices_rise_and_no_change_has_no_direction() -> None:
    levels = np.array([0.0, 1.0, 2.0, 3.0, 3.0, 4.0, 3.0, 5.0, 5.0, 4.0])[:, None]
    found = baseline_scores(series(levels, Parts(3, 4, 3), 1), measures(), prices=True)
    assert found["always_up/valid_direction_accuracy"] == pytest.approx(2 / 3)  # up, none, up, down
    assert found["always_up/test_direction_accuracy"] == pytest.approx(1 / 2)
    assert "naive/valid_direction_accuracy" not in found


def test_of_several_targets_each_is_scored_and_told_how_often_it_rises() -> None:
    levels = np.array([[0, 1, 2, 3, 4, 5, 6], [0, -1, 0, -1, -2, -3, -2]], dtype=float).T
    actual = np.diff(levels, axis=0)[:, None, :]  # (points, one step, targets)
    judge = measures(targets=2)
    forecast = np.stack([np.full((6, 1), 0.5), np.full((6, 1), -1.0)], axis=2)[..., None]
    found = judge.by_target(forecast, actual, ["a", "b"])
    assert (found["mse/target:a"], found["mse/target:b"]) == (0.25, pytest.approx(2 * 4 / 6))
    assert found["skill_naive/target:a"] == 0.75
    assert found["direction_accuracy/target:b"] == pytest.approx(4 / 6)
    assert judge.by_target(forecast[:, :, :1], actual[..., :1], ["a"]) == {}
    ups = baseline_scores(series(levels, Parts(3, 4, 0), 1), judge, prices=True, targets=["a", "b"])
    assert ups["always_up/valid_direction_accuracy/target:a"] == 1.0
    assert ups["always_up/valid_direction_accuracy/target:b"] == pytest.approx(1 / 4)


def test_the_mean_of_a_date_is_of_training_rows_alone() -> None:
    dates = pandas.date_range("2019-01-01", "2022-12-31")
    train = int((dates < "2022-01-01").sum())
    values = (dates.month * 100 + dates.day + 1000 * (dates.year - 2019)).to_numpy(dtype=float)[:, None]
    exact = date_means(values[:train], dates, near=0)
    row = dates.get_loc("2022-05-06")
    assert exact[row, 0] == pytest.approx(506 + 1000)
    week = date_means(values[:train], dates, near=3)
    row = dates.get_loc("2022-05-15")
    assert week[row, 0] == pytest.approx(515 + 1000)
    # 29 February came once only; New Year is near New Year's Eve.
    assert exact[dates.get_loc("2020-02-29"), 0] == pytest.approx(229 + 1000)
    assert week[dates.get_loc("2022-01-01"), 0] == pytest.approx(
        1000 + (1229 + 1230 + 1231 + 101 + 102 + 103 + 104) / 7
    )


def test_dates_are_only_judged_by_where_training_covers_two_years() -> None:
    dates = pandas.date_range("2019-01-01", periods=900)
    values = np.sin(np.arange(900) / 58)[:, None]
    for train, there in ((729, False), (730, True)):
        known = series(values, Parts(train, 100, 50), 3, dates=dates)
        found = baseline_scores(known, measures(), prices=False)
        assert ("climatology/valid_mse" in found) == ("day_of_year/test_mse" in found) == there


def test_by_hours_the_mean_of_the_date_is_that_of_the_hour() -> None:
    dates = pandas.date_range("2019-01-01", "2021-12-31 18:00", freq="6h")
    means = date_means(dates.hour.to_numpy(dtype=float)[:, None], dates, near=7)
    assert (means[:, 0] == dates.hour).all()


def test_scaled_errors_are_those_beside_the_naive_forecast_in_training() -> None:
    levels = np.array([0.0, 3.0, 1.0, 4.0, 2.0, 9.0])[:, None]
    known = series(levels, Parts(5, 1, 0), 1)
    assert naive_errors(known) == [pytest.approx((3 + 2 + 3 + 2) / 4)]
    assert naive_errors(series(levels, Parts(5, 1, 0), 1, season=2)) == [pytest.approx(1.0)]
    periodic = np.tile([0.0, 1.0], 5)[:, None]
    assert naive_errors(series(periodic, Parts(9, 1, 0), 1, season=2)) == [1.0]  # that of one row, not of none
    sparse = np.where(np.arange(10) % 2 == 0, np.arange(10.0), np.nan)[:, None]
    assert naive_errors(series(periodic, Parts(9, 1, 0), 1, observed=sparse)) == [1.0]  # in standard deviations
    forecast, actual = np.zeros((1, 1, 1, 1)), np.full((1, 1, 1), 5.0)
    scored = Measures(None, [1.0], False, [2.5]).scores(forecast, actual, np.zeros((1, 1)))
    assert scored["mase"] == pytest.approx(2.0)


def test_percentage_errors_are_in_the_units_of_the_target() -> None:
    forecast, actual = np.full((1, 1, 1, 1), 1.0), np.full((1, 1, 1), 3.0)
    plain = measures(scale=2.0).scores(forecast, actual, np.full((1, 1), 4.0))
    assert plain["smape"] == pytest.approx(200 * 4 / (10 + 14))
    assert plain["rmse"] == pytest.approx(2 * 2)
    logarithmic = measures(scale=2.0, logarithmic=True).scores(forecast, actual, np.zeros((1, 1)))
    assert logarithmic["smape"] == pytest.approx(200 * (np.e**6 - np.e**2) / (np.e**6 + np.e**2))
    nothing = measures().scores(np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 1)), np.zeros((1, 1)))
    assert nothing["smape"] == 0
    assert "direction_accuracy" not in nothing


def test_what_is_not_known_is_not_scored() -> None:
    random = np.random.default_rng(3)
    forecast, actual, last = random.normal(size=(9, 3, 1, 3)), random.normal(size=(9, 3, 1)), np.ones((9, 1))
    forecast.sort(axis=-1)
    gaps = actual.copy()
    gaps[4:] = np.nan
    judge = measures([0.1, 0.5, 0.9])
    assert judge.scores(forecast, gaps, last) == pytest.approx(judge.scores(forecast[:4], actual[:4], last[:4]))
    assert judge.by_step(forecast, gaps) == pytest.approx(judge.by_step(forecast[:4], actual[:4]))
    gaps[:, 1] = np.nan
    assert not any("step:2" in name for name in judge.by_step(forecast, gaps))


def test_the_mean_over_all_steps_is_that_of_the_steps() -> None:
    random = np.random.default_rng(4)
    forecast, actual = random.normal(size=(20, 3, 2, 1)), random.normal(size=(20, 3, 2))
    judge = measures(targets=2)
    steps = judge.by_step(forecast, actual)
    whole = judge.scores(forecast, actual, np.ones((20, 2)))
    assert set(steps) == {f"{metric}/step:{step}" for metric in ("mse", "mae", "skill_naive") for step in (1, 2, 3)}
    for metric in ("mse", "mae"):
        assert np.mean([steps[f"{metric}/step:{step}"] for step in (1, 2, 3)]) == pytest.approx(whole[metric])
    expected = 1 - steps["mse/step:2"] / np.square(actual[:, 1]).mean()
    assert steps["skill_naive/step:2"] == pytest.approx(expected)


@given(st.integers(1, 10_000))
def test_at_most_six_steps_are_scored_one_by_one_the_last_among_them(horizon: int) -> None:
    steps = chosen_steps(horizon)
    assert steps == sorted(set(steps))
    assert len(steps) <= 6
    assert (steps[0], steps[-1]) == (1, horizon) if horizon > 1 else steps == []


def test_skill_is_what_is_left_of_the_error_of_a_baseline() -> None:
    baselines = {"naive/test_mse": 2.0, "climatology/test_mse": 0.5, "seasonal_naive/test_mse": 0.0}
    found = skills("test", {"mse": 1.0, "pinball": 0.1}, baselines)
    assert found == {"skill_naive": 0.5, "skill_climatology": -1.0}


def test_pinball_loss_is_least_at_the_quantile() -> None:
    actual = np.random.default_rng(0).random((20_000, 1, 1))
    at = {guess: pinball(np.full((1, 1, 1, 1), guess), actual, [0.9]) for guess in (0.8, 0.85, 0.9, 0.95)}
    assert min(at, key=lambda guess: at[guess]) == 0.9
    assert pinball(np.array([[[[1.0, 1.0]]]]), np.array([[[3.0]]]), [0.25, 0.5]) == pytest.approx((0.5 + 1.0) / 2)


def test_scores_of_quantiles_take_the_median_as_the_point_and_the_outermost_as_the_interval() -> None:
    actual = np.array([0.0, 1.0, 4.0]).reshape(3, 1, 1)
    forecast = np.tile([-1.0, 1.0, 2.0], (3, 1, 1, 1))
    found = measures([0.1, 0.5, 0.9]).scores(forecast, actual, np.zeros((3, 1)))
    assert found["mse"] == pytest.approx((1 + 0 + 9) / 3)
    assert found["mae"] == pytest.approx((1 + 0 + 3) / 3)
    assert found["coverage"] == pytest.approx(2 / 3)
    assert found["direction_accuracy"] == 1.0
