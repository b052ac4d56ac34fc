"""Figures and durations in words."""

from __future__ import annotations

import pytest

from orchestrator.wording import duration, number, setting


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_take_the_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "-"),
        (1.5, "1.500"),
        (0.00012345, "0.0001234"),
        (1234.0, "1234"),
        (123456.7, "123,457"),
        (-1.7e308, "-1.700e+308"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_have_four_digits(value: float | None, words: str) -> None:
    assert number(value) == words


def test_a_setting_begins_with_what_a_sweep_is_about() -> None:
    chosen = {
        "learning_rate": 0.00123456,
        "hidden_size": 8,
        "layer_norm": True,
        "cell_type": "gru",
        "truncation_length": 4,
    }
    assert (
        setting(chosen) == "cell_type gru, truncation_length 4, hidden_size 8, learning_rate 0.00123, layer_norm true"
    )
