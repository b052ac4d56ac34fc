"""Forecasts of where curves end: learnt from like settings, the same on every scale, honest about the unknown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.search.freeze_thaw import (
    JITTER,
    KEPT,
    PRIOR,
    PRIOR_LENGTH,
    REMEMBERED,
    Draw,
    Pairs,
    Places,
    comparable,
    draws_of,
    observe,
)
from orchestrator.search.points import Floats

EVALUATIONS = 8
VALUES = st.floats(-5, 5).map(lambda value: round(value, 2))
CURVES = st.lists(st.lists(VALUES, min_size=1, max_size=EVALUATIONS), min_size=1, max_size=8)


def somewhere(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).random((count, 2))


def ends(curves: Sequence[Sequence[float]], points: Floats) -> tuple[Floats, Floats]:
    return observe(curves, points, EVALUATIONS).ends(points, range(len(curves)))


@settings(max_examples=30, deadline=None)
@given(curves=CURVES)
def test_whatever_was_seen_the_forecast_is_a_number_with_a_deviation(curves: list[list[float]]) -> None:
    means, deviations = ends(curves, somewhere(len(curves)))
    assert np.isfinite(means).all()
    assert (deviations > 0).all()


@pytest.mark.parametrize(
    "curves", [[[1.0]], [[0.1]] * 3, [[2.0] * EVALUATIONS], [[1.0], [1.0], [1.0]], [[1e-300, 0.0], [1e300]]]
)
def test_little_or_unusual_is_enough_for_a_forecast(curves: list[list[float]]) -> None:
    process = observe(curves, somewhere(len(curves)), EVALUATIONS)
    means, deviations = process.ends(somewhere(3, seed=1), [-1, -1, -1])
    assert np.isfinite([*means, *deviations]).all()


def test_a_sweep_of_one_evaluation_has_no_curves_but_ends() -> None:
    points = np.linspace(0, 1, 9)[:, None]
    means, deviations = observe([[(x - 0.5) ** 2] for (x,) in points], points, 1).ends(points, range(9))
    assert np.abs(means - (points[:, 0] - 0.5) ** 2).max() < 0.05
    assert deviations.max() < 0.1


@settings(max_examples=20, deadline=None)
@given(curves=CURVES, factor=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_another_scale_of_the_metric_changes_nothing_else(
    curves: list[list[float]], factor: float, shift: float
) -> None:
    points = somewhere(len(curves))
    means, deviations = ends(curves, points)
    moved = ends([[factor * value + shift for value in curve] for curve in curves], points)
    size = max(abs(value) for curve in curves for value in curve) + 1
    if np.ptp([value for curve in curves for value in (curve[0], curve[-1])]):  # not all are looked at
        np.testing.assert_allclose(moved[0], factor * means + shift, atol=1e-4 * factor * size)
        np.testing.assert_allclose(moved[1], factor * deviations, atol=1e-4 * factor * size)


def fallen(start: float, end: float, reached: int = EVALUATIONS) -> list[float]:
    """Return a curve that goes in a line over the logarithm of evaluations."""
    return list(start + (end - start) * np.log(np.arange(1, EVALUATIONS + 1)) / np.log(EVALUATIONS))[:reached]


def test_a_slow_beginner_is_expected_to_do_what_its_like_did() -> None:
    points = np.array([[x] for x in (0.0, 0.1, 0.2, 0.8, 0.9, 1.0, 0.05, 0.95)])
    falling, steady = [fallen(2.0, 0.5 + place) for place in (0.0, 0.1, 0.2)], [fallen(1.5, 1.3)] * 3
    means, deviations = ends([*falling, *steady, [2.0], [1.5]], points)
    assert means[6] == pytest.approx(0.55, abs=0.15)
    assert means[7] == pytest.approx(1.3, abs=0.15)
    assert deviations[6] < 0.2


def test_the_less_is_seen_the_less_is_known() -> None:
    points = somewhere(12)
    curves = [fallen(2.0 + x, 1.0 + y) for x, y in points]
    cut = [*curves[:9], curves[9][:1], curves[10][:4], curves[11]]
    _, deviations = ends(cut, points)
    assert deviations[9] > deviations[10] > deviations[11]


def test_the_truth_lies_within_the_deviation_as_often_as_it_should() -> None:
    draw = np.random.default_rng(3)
    within = []
    for _ in range(20):
        points = draw.random((24, 2))
        start = 2 + points[:, :1] + draw.normal(0, 0.1, (24, 1))
        slope = -0.2 - 0.2 * points[:, 1:] + draw.normal(0, 0.05, (24, 1))
        curves = start + slope * np.log(np.arange(1, EVALUATIONS + 1)) + draw.normal(0, 0.02, (24, EVALUATIONS))
        seen = [list(curve) for curve in curves[:16]] + [list(curve[:2]) for curve in curves[16:]]
        means, deviations = ends(seen, points)
        within += list(np.abs(curves[16:, -1] - means[16:]) <= 1.28 * deviations[16:])
    assert 0.7 < np.mean(within) < 0.95  # 0.8, were all of it known but the noise


def test_the_likelihoods_slope_is_that_of_its_differences() -> None:
    draw = np.random.default_rng(1)
    places = Places(draw.random((12, 3)), draw.random(12), draw.integers(0, 4, 12))
    pairs, values = Pairs(places, places), draw.normal(size=12)
    drawn = np.concatenate([draw.normal(-0.3, 0.5, 3), PRIOR[:, 0] + draw.normal(size=len(PRIOR))])
    slope = pairs.slope(Draw.of(drawn, pairs, values))
    step = 1e-5

    def likely(at: Floats) -> float:
        return Draw.of(at, pairs, values).log_likelihood

    differences = [
        (likely(drawn + step * unit) - likely(drawn - step * unit)) / (2 * step) for unit in np.eye(len(drawn))
    ]
    np.testing.assert_allclose(slope, differences, rtol=1e-4, atol=1e-6)


def of_the_first_dimension(count: int = 12) -> tuple[Places, Floats]:
    """Return ends that follow the first of two dimensions of their settings, and nothing else."""
    points = somewhere(count)
    values = np.sin(4 * points[:, 0])
    return Places.at_the_end(points, range(count)), (values - values.mean()) / values.std()


def test_hyperparameters_are_those_that_make_likely_what_was_seen() -> None:
    places, values = of_the_first_dimension()
    pairs = Pairs(places, places)
    before = Draw.of(np.concatenate([[PRIOR_LENGTH[0]] * 2, PRIOR[:, 0]]), pairs, values)
    drawn = draws_of(places, values)
    assert len(drawn) == KEPT
    assert all(Draw.of(each, pairs, values).log_likelihood > before.log_likelihood + 3 for each in drawn)
    assert all(following < idle - 1 for following, idle, *_ in drawn)  # logarithms of lengths


def test_means_and_variances_are_those_of_the_whole_covariance() -> None:
    draw = np.random.default_rng(2)
    places = Places(draw.random((9, 2)), draw.random(9), draw.integers(0, 3, 9))
    asked = Places.at_the_end(draw.random((4, 2)), [0, 2, -1, 3])
    values, drawn = draw.normal(size=9), np.concatenate([[-0.5, 0.2], PRIOR[:, 0] + draw.normal(size=len(PRIOR))])
    pairs = Pairs(places, places)
    mean, variance = Draw.of(drawn, pairs, values).at(Pairs(places, asked), asked)
    noise = np.exp(drawn[-1])
    observed = pairs.covariance(drawn) + (noise + JITTER) * np.eye(9)
    between = Pairs(places, asked).covariance(drawn)
    before = np.diag(Pairs(asked, asked).covariance(drawn)) + noise * (asked.owners >= 0)
    np.testing.assert_allclose(mean, between.T @ np.linalg.inv(observed) @ values, rtol=1e-6)
    np.testing.assert_allclose(variance, before - np.diag(between.T @ np.linalg.inv(observed) @ between), rtol=1e-6)


def test_the_same_curves_have_the_same_forecast_however_often_others_were_asked_about() -> None:
    draw = np.random.default_rng(0)
    places, values = Places(draw.random((3, 1)), np.zeros(3), np.arange(3)), draw.normal(size=3)
    first = draws_of(places, values)
    assert draws_of(places, values) is first
    for _ in range(REMEMBERED):
        draws_of(places, draw.normal(size=3))
    again = draws_of(places, values)
    assert again is not first
    np.testing.assert_array_equal(again, first)


def test_new_settings_gain_where_the_good_ones_are_and_less_once_one_has_begun_there() -> None:
    tried = np.linspace(0, 1, 6)[:, None]
    process = observe([fallen(2.0, 1.0 + 4 * (x - 0.3) ** 2) for (x,) in tried], tried, EVALUATIONS)
    asked = np.array([[0.3], [0.9]])
    for gain, deviation in process.gains(asked, tried):
        assert gain[0] > gain[1]
        assert (deviation > 0).all()
    begun = process.having_begun(asked[:1])
    pairs = zip(process.gains(asked, tried), begun.gains(asked, tried), strict=True)
    assert all(after[0] < before[0] for (_, before), (_, after) in pairs)


def test_losses_below_0_are_compared_as_they_are() -> None:
    curves = [[0.5, -0.5], [2.0, 1.0]]
    assert comparable(curves) == (curves, False)
    assert comparable([[0.0], [0.0]]) == ([[0.0], [0.0]], False)


def test_how_bad_a_bad_one_is_does_not_matter() -> None:
    good = [[-0.9], [-0.5], [0.1], [0.6], [1.9]]
    assert comparable([*good, [1e4]]) == comparable([*good, [1e300]])
    assert comparable([*good, [1e4]])[0][:5] == good


def test_one_error_rate_of_0_leaves_the_others_told_apart() -> None:
    assert comparable([[1.0, 0.0], [1e-3]]) == ([[0.0, np.log(1e-3)], [np.log(1e-3)]], True)
