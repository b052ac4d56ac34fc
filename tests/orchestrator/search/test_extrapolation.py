"""Forecasts of where curves end: exact where they must be, the same on every scale, honest about the unknown."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.search.extrapolation import ends

EVALUATIONS = 8
VALUES = st.floats(-5, 5).map(lambda value: round(value, 2))
CURVES = st.lists(st.lists(VALUES, min_size=1, max_size=EVALUATIONS), min_size=1, max_size=8)


@given(curves=CURVES)
def test_a_curve_that_came_to_its_end_is_known_and_no_other_is_worse_than_a_guess(curves: list[list[float]]) -> None:
    means, deviations = ends(curves, EVALUATIONS)
    assert np.isfinite(means).all()
    assert np.isfinite(deviations).all()
    for curve, mean, deviation in zip(curves, means, deviations, strict=True):
        if len(curve) == EVALUATIONS:
            assert (mean, deviation) == (curve[-1], 0.0)


@settings(max_examples=50)
@given(curves=CURVES, factor=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_another_scale_of_the_metric_changes_nothing_else(
    curves: list[list[float]], factor: float, shift: float
) -> None:
    means, deviations = ends(curves, EVALUATIONS)
    moved = ends([[factor * value + shift for value in curve] for curve in curves], EVALUATIONS)
    size = max(abs(value) for curve in curves for value in curve) + 1
    np.testing.assert_allclose(moved[0], factor * means + shift, atol=1e-5 * factor * size, rtol=1e-4)
    np.testing.assert_allclose(moved[1], factor * deviations, atol=1e-5 * factor * size, rtol=1e-4)


@given(curves=CURVES, seed=st.integers(0, 100))
def test_the_order_of_trials_does_not_matter(curves: list[list[float]], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(curves))
    means, deviations = ends(curves, EVALUATIONS)
    again = ends([curves[index] for index in order], EVALUATIONS)
    np.testing.assert_allclose(again[0], means[order], atol=1e-9)
    np.testing.assert_allclose(again[1], deviations[order], atol=1e-6)


def test_parallel_curves_end_where_the_complete_one_says() -> None:
    fall = [1.0 / (at + 1) for at in range(EVALUATIONS)]
    curves = [[place + each for each in fall] for place in (2.0, 1.0, 3.0)]
    means, deviations = ends([curves[0], curves[1][:2], curves[2][:4]], EVALUATIONS)
    np.testing.assert_allclose(means, [curve[-1] for curve in curves])
    assert deviations[0] < deviations[2] < deviations[1]  # the less is seen, the less is known


def test_the_truth_lies_within_the_deviation_as_often_as_it_should() -> None:
    draw = np.random.default_rng(3)
    within = []
    for _ in range(60):
        start = draw.normal(2, 0.5, (24, 1))
        steps = draw.normal(-0.1, 0.05, (24, EVALUATIONS - 1))
        curves = np.hstack([start, start + steps.cumsum(1)])
        seen = [list(curve) for curve in curves[:20]] + [list(curve[:3]) for curve in curves[20:]]
        means, deviations = ends(seen, EVALUATIONS)
        within += list(np.abs(curves[20:, -1] - means[20:]) <= 1.28 * deviations[20:])
    assert 0.7 < np.mean(within) < 0.97  # 0.8, were they normal and their deviation known


def test_where_curves_fall_late_and_at_random_an_early_value_says_little() -> None:
    flat, late = [2.0] * EVALUATIONS, [2.0] * 5 + [0.1] * 3
    means, deviations = ends([flat, late, flat, late, [2.01, 2.0]], EVALUATIONS)
    assert (means[-1] - 0.1) / deviations[-1] < 1.5
    steady = [[2.0 - place - 0.01 * at for at in range(EVALUATIONS)] for place in (0.0, 1.0, 0.2, 1.2)]
    means, deviations = ends([*steady, [2.01, 2.0]], EVALUATIONS)
    assert (means[-1] - steady[3][-1]) / deviations[-1] > 3
    assert math.isclose(means[-1], 1.94, abs_tol=0.05)
