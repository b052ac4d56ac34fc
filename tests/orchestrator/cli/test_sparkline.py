"""A row of values as a row of bars."""

from __future__ import annotations

import pytest

from orchestrator.cli.sparkline import BARS, PLAIN_BARS, best_so_far, sparkline
from orchestrator.trial import TrialRecord, TrialState
from workloads.protocol import Progress


def ended(number: int, loss: float, at: float, state: TrialState = TrialState.COMPLETE) -> TrialRecord:
    trial = TrialRecord(number, {}, {}, 0.0, [Progress(0, 1000, {"valid_loss": loss}, "", at)])
    trial.state, trial.ended = state, at
    return trial


def test_the_lowest_value_is_the_lowest_bar_and_the_highest_the_highest() -> None:
    assert sparkline([0.0, 7.0, 3.0], width=10) == f"{BARS[0]}{BARS[7]}{BARS[3]}"
    assert sparkline([5.0, 5.0], width=10) == BARS[0] * 2


def test_the_last_values_are_shown_where_there_is_no_room_for_all() -> None:
    assert len(sparkline(list(range(100)), width=12)) == 12


@pytest.mark.parametrize("values", [[], [1.0]])
def test_fewer_than_two_values_are_no_line(values: list[float]) -> None:
    assert sparkline(values, width=10) == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "no such encoding"])
def test_a_terminal_without_such_characters_gets_plain_ones(encoding: str) -> None:
    assert set(sparkline([1.0, 2.0, 3.0], width=10, encoding=encoding)) <= set(PLAIN_BARS)


@pytest.mark.parametrize(("direction", "best"), [("minimize", [3.0, 2.0, 2.0]), ("maximize", [3.0, 3.0, 4.0])])
def test_the_best_so_far_follows_the_order_in_which_trials_ended(direction: str, best: list[float]) -> None:
    trials = [
        ended(0, 4.0, 30.0),
        ended(1, 3.0, 10.0),
        ended(2, 2.0, 20.0),
        ended(3, 0.0, 15.0, TrialState.PRUNED),
    ]
    assert best_so_far(trials, "valid_loss", direction) == best
