"""The surface through trials: right where they are, unsure where they are not, and honest about which."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.report.surface import Surface


def truth(points: np.ndarray, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    labels, place = 0.4 * random.normal(size=3), random.uniform(0.2, 0.8, size=2)
    return labels[points[:, 0].astype(int)] + np.asarray(((points[:, 1:] - place) ** 2).sum(axis=1)) * 1.5


def points_of(random: np.random.Generator, count: int) -> np.ndarray:
    return np.column_stack([random.integers(0, 3, count), random.uniform(size=(count, 2))])


def test_nine_of_ten_intervals_hold_the_truth() -> None:
    """Over sweeps of twelve trials with noise; with two labels too few or too many in ten this would fail."""
    random, held = np.random.default_rng(0), []
    for seed in range(10):
        trials, others = points_of(random, 12), points_of(random, 40)
        values = truth(trials, seed) + 0.03 * random.normal(size=12)
        low, high = np.quantile(
            Surface(trials, values, is_label=[True, False, False]).draw(others), (0.05, 0.95), axis=0
        )
        held.append(np.mean((low <= truth(others, seed)) & (truth(others, seed) <= high)))
    assert 0.8 <= np.mean(held) <= 0.99


def test_more_trials_make_it_surer() -> None:
    random, widths = np.random.default_rng(1), []
    others = points_of(random, 40)
    for count in (6, 30):
        trials = points_of(random, count)
        drawn = Surface(trials, truth(trials, 3), is_label=[True, False, False]).draw(others)
        widths.append(np.mean(np.ptp(np.quantile(drawn, (0.05, 0.95), axis=0), axis=0)))
    assert widths[1] < widths[0] / 2


def test_it_is_surer_at_a_trial_than_far_from_all() -> None:
    inputs = np.array([[0.0], [0.1], [0.2], [0.3]])
    drawn = Surface(inputs, np.array([1.0, 1.2, 0.9, 1.1]), is_label=[False]).draw(np.array([[0.2], [1.0]]))
    assert drawn[:, 1].std() > 1.3 * drawn[:, 0].std()


def test_draws_and_mean_say_the_same_and_are_the_same_every_time() -> None:
    random = np.random.default_rng(2)
    trials, others = points_of(random, 9), points_of(random, 5)
    values = truth(trials, 5)
    first, second = (Surface(trials, values, is_label=[True, False, False]) for _ in range(2))
    np.testing.assert_array_equal(first.draw(others), second.draw(others))
    np.testing.assert_allclose(first.draw(others).mean(axis=0), first.mean(others), atol=0.15 * values.std())


def test_a_label_says_nothing_of_another_by_its_code() -> None:
    """Labels 0 and 2 are no farther apart than 0 and 1."""
    values = np.array([1.0, 2.0, 3.0, 1.1, 2.1, 3.1])
    inputs = np.array([[0.0], [1.0], [2.0], [0.0], [1.0], [2.0]])
    swapped = np.array([[2.0], [1.0], [0.0], [2.0], [1.0], [0.0]])
    np.testing.assert_allclose(
        Surface(inputs, values, is_label=[True]).mean(np.array([[0.0]])),
        Surface(swapped, values, is_label=[True]).mean(np.array([[2.0]])),
    )


@given(
    values=st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=8),
    scale=st.sampled_from([1e-9, 1.0, 1e9]),
    offset=st.sampled_from([0.0, -5.0, 1e3]),
    seed=st.integers(0, 5),
)
@settings(max_examples=15, deadline=None)
def test_any_values_give_finite_intervals_that_move_and_stretch_with_them(
    values: list[float], scale: float, offset: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    inputs, others = random.integers(0, 3, size=(len(values), 2)) / 2, random.uniform(size=(3, 2))
    inputs[-1] = inputs[0]  # the same setting, perhaps with another value
    plain = np.round(np.array(values), 3)
    drawn = Surface(inputs, plain, is_label=[False, False]).draw(others)
    stretched = Surface(inputs, offset * scale + scale * plain, is_label=[False, False]).draw(others)
    assert np.isfinite(drawn).all()
    if np.ptp(plain) > 0:
        expected = np.median(drawn, axis=0)
        np.testing.assert_allclose(
            (np.median(stretched, axis=0) - offset * scale) / scale, expected, atol=1e-3 * np.ptp(drawn)
        )


def test_the_same_value_everywhere_is_no_division_by_zero() -> None:
    drawn = Surface(np.array([[0.0], [1.0]]), np.array([2.0, 2.0]), is_label=[False]).draw(np.array([[0.5]]))
    assert np.median(drawn) == pytest.approx(2.0, abs=0.5)
