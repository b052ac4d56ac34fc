"""Texts cut to the room there is."""

from __future__ import annotations

import pytest

from orchestrator.cli.fitting import joined, setting_lines, shortened

CHOSEN = {"learning_rate": 0.0123, "truncation_length": 64, "hidden_size": 128, "cell_type": "layer_norm_lstm"}


def test_a_long_text_loses_its_middle() -> None:
    assert shortened("truncation_length", 17) == "truncation_length"
    assert shortened("truncation_length", 9) == "trun…ngth"
    assert shortened("truncation_length", 9, "ascii") == "trun..gth"


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8])
def test_a_text_never_has_more_characters_than_there_is_room_for(width: int) -> None:
    for encoding in ("utf-8", "ascii"):
        assert len(shortened("truncation_length", width, encoding)) == width


def test_what_has_no_room_is_counted() -> None:
    assert joined(["one", "two", "three"], 15) == "one, two, three"
    assert joined(["first", "second", "third", "fourth"], 20) == "first, and 3 more"
    assert joined(["one", "two", "three"], 2) == "3"


def test_a_setting_with_room_is_whole() -> None:
    assert setting_lines(CHOSEN, 100) == [
        "cell_type layer_norm_lstm, truncation_length 64, hidden_size 128, learning_rate 0.0123"
    ]


def test_a_setting_goes_on_in_the_next_line_before_a_name_is_shortened() -> None:
    assert setting_lines(CHOSEN, 50) == [
        "cell_type layer_norm_lstm, truncation_length 64,",
        "hidden_size 128, learning_rate 0.0123",
    ]


@pytest.mark.parametrize("width", [12, 20, 34, 40])
def test_names_are_shortened_before_values(width: int) -> None:
    lines = setting_lines(CHOSEN, width, most=4)
    assert len(lines) <= 4
    assert all(len(line) <= width for line in lines)
    if width >= 34:
        assert all(value in " ".join(lines) for value in ("layer_norm_lstm", "64", "128", "0.0123"))


def test_an_empty_setting_is_no_line() -> None:
    assert setting_lines({}, 40) == []
