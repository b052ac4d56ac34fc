"""Error rates by hand, over all and by speaker."""

from __future__ import annotations

import pytest

pytest.importorskip("jiwer", reason="the extra `speech` is not installed")

from workloads.data.error_rates import by_speaker, error_rates

SPOKEN = ["one two", "three four", "five"]
HEARD = ["one too", "three four", ""]


def test_errors_are_counted_over_all_utterances_together() -> None:
    found = error_rates(SPOKEN, HEARD)
    assert found["word_error_rate"] == pytest.approx(2 / 5)
    assert found["character_error_rate"] == pytest.approx((1 + 4) / (7 + 10 + 4))


def test_a_speakers_errors_are_those_of_the_speakers_utterances_alone() -> None:
    found = by_speaker(SPOKEN, HEARD, ["ann", "bob", "ann"])
    assert found["word_error_rate/speaker:ann"] == pytest.approx(2 / 3)
    assert found["word_error_rate/speaker:bob"] == 0
    assert found["character_error_rate/speaker:ann"] == pytest.approx(5 / 11)
