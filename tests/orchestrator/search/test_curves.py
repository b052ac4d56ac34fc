"""Early stopping by forecasts: who is paused and why, who goes on again, and what a kill leaves of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution

from orchestrator.executors.local import LocalExecutor
from orchestrator.search.curves import MOST_SEEN, Curves
from orchestrator.search.points import Points
from orchestrator.spec import SweepSpec
from orchestrator.trial import TrialRecord, TrialState
from tests.orchestrator.conftest import Drive, make_spec, states, swept
from tests.orchestrator.search.test_promotion import Wavering, drive_through_kills
from workloads.protocol import Progress

EVALUATIONS = 9


def trial(
    number: int, values: Sequence[float], state: TrialState = TrialState.RUNNING, *, quality: float | None = None
) -> TrialRecord:
    """Return a trial with these losses; their negatives are its scores. Unless given, its setting is its first loss."""
    setting = {"quality": values[0] if quality is None else quality}
    evaluations = [
        Progress(at, at + 1, {"valid_loss": value, "valid_score": -value}, "", 0.0) for at, value in enumerate(values)
    ]
    return TrialRecord(number, setting, {}, 0.0, evaluations, state)


def curve(place: float, reached: int = EVALUATIONS) -> list[float]:
    return [place + 2.0 / (at + 1) for at in range(reached)]


def rule(*, is_maximized: bool = False) -> Curves:
    metric = "valid_score" if is_maximized else "valid_loss"
    return Curves(metric, is_maximized, EVALUATIONS, Points({"quality": FloatDistribution(0.0, 10.0)}))


def curving(**changes: Any) -> SweepSpec:
    return make_spec(
        **{
            "space": {"quality": {"float": [0.1, 100.0]}},
            "search": {"sampler": "random", "pruner": "curves", "seed": 1},
            "budget": {"trials": 18, "evaluations": EVALUATIONS},
            **changes,
        }
    )


@settings(max_examples=60, deadline=None)
@given(places=st.lists(st.integers(1, 8), min_size=4, max_size=8, unique=True), data=st.data())
def test_who_is_clearly_ahead_of_like_curves_is_never_paused(places: list[int], data: st.DataObject) -> None:
    first, *places = sorted(places)
    # Two at least came to the end, so that it is known how curves fall.
    reached = [EVALUATIONS, EVALUATIONS, *(data.draw(st.integers(1, EVALUATIONS)) for _ in places[2:])]
    others = [trial(number, curve(place, at)) for number, (place, at) in enumerate(zip(places, reached, strict=True))]
    for other in others:
        other.state = TrialState.COMPLETE if len(other.evaluations) == EVALUATIONS else TrialState.PAUSED
    best = trial(99, curve(first, data.draw(st.integers(1, EVALUATIONS - 1))))
    assert rule().pauses(best, [*others, best]) == ""


def test_what_is_far_behind_is_paused_and_the_reason_says_what_was_expected() -> None:
    complete = [trial(number, curve(place), TrialState.COMPLETE) for number, place in enumerate((1.0, 1.1, 1.3, 2.0))]
    behind = trial(9, curve(6.0, 2))
    why = rule().pauses(behind, [*complete, behind])
    expected, _, chance = why.partition(" +- ")
    assert 4 < float(expected) < 7.5
    assert chance.endswith(": less than 0.1 % likely to beat 1.222")


def test_losses_near_the_largest_number_can_be_told_of() -> None:
    complete = [trial(number, [10.0**power] * EVALUATIONS, TrialState.COMPLETE) for number, power in enumerate((1, 2))]
    behind = trial(9, [1.0, 1.7e308], quality=5.0)
    assert "likely to beat 10" in rule().pauses(behind, [*complete, behind])


def test_a_metric_that_is_maximized_decides_alike() -> None:
    complete = [trial(number, curve(place), TrialState.COMPLETE) for number, place in enumerate((1.0, 1.1, 1.3, 2.0))]
    for place in (0.5, 1.2, 2.0, 6.0):
        asked = trial(9, curve(place, 2))
        low, high = (rule(is_maximized=maximized).pauses(asked, [*complete, asked]) for maximized in (False, True))
        assert bool(low) == bool(high)
        assert low.partition(":")[2].partition("beat")[0] == high.partition(":")[2].partition("beat")[0]


def test_a_pinned_trial_is_never_paused() -> None:
    complete = [trial(number, curve(place), TrialState.COMPLETE) for number, place in enumerate((1.0, 1.1, 1.3, 2.0))]
    behind = trial(9, curve(6.0, 2))
    assert rule().pauses(behind, [*complete, behind])
    behind.pinned = True
    assert rule().pauses(behind, [*complete, behind]) == ""


def test_a_paused_trial_goes_on_once_its_like_turn_out_to_fall_late() -> None:
    steady = [
        trial(number, [place] * EVALUATIONS, TrialState.COMPLETE, quality=place)
        for number, place in enumerate((1.0, 1.2, 1.4))
    ]
    paused = trial(9, [2.0, 2.0], TrialState.PAUSED, quality=5.0)
    assert rule().next([*steady, paused]) is None
    late = [2.0, 2.0, 2.0, 0.9, *[0.9] * 5]
    fallen = [trial(20 + number, late, TrialState.COMPLETE, quality=4.9 + number / 5) for number in range(2)]
    assert rule().next([*steady, *fallen, paused]) is paused


def test_of_many_trials_forecasts_are_made_of_the_best_the_latest_and_the_one_asked_about() -> None:
    many = [trial(number, [2.0 + number / 100] * 2, TrialState.PAUSED) for number in range(2 * MOST_SEEN)]
    kept = {*range(MOST_SEEN // 2), *range(3 * MOST_SEEN // 2, 2 * MOST_SEEN)}
    assert set(rule().forecasts(many)) == kept
    assert rule().leaves(many[MOST_SEEN - 1], many) == "not promoted"
    for each in many[MOST_SEEN : MOST_SEEN + 2]:
        each.state = TrialState.RUNNING
    assert set(rule().forecasts(many, many[MOST_SEEN])) == {*kept, MOST_SEEN}
    far_behind = trial(MOST_SEEN, [30.0, 30.0])
    complete = [trial(1000 + number, curve(1.0 + number / 10), TrialState.COMPLETE) for number in range(3)]
    assert rule().pauses(far_behind, [*many[:MOST_SEEN], far_behind, *many[MOST_SEEN + 1 :], *complete])


def test_the_best_complete_trial_is_never_out_of_sight() -> None:
    complete = trial(0, [3.0] * EVALUATIONS, TrialState.COMPLETE)  # others begin far lower, and may rise
    paused = [trial(number, [0.8 + number / 1000], TrialState.PAUSED) for number in range(1, 2 * MOST_SEEN)]
    found = rule().forecasts([complete, *paused]).values()
    assert found
    assert all(each.best == pytest.approx(math.log(3.0)) for each in found)


def test_trials_that_diverged_take_no_place_from_those_that_may_go_on() -> None:
    paused = [trial(number, [2.0 + number / 100], TrialState.PAUSED) for number in range(10)]
    diverged = [trial(number, [0.1], TrialState.DIVERGED) for number in range(10, 10 + 2 * MOST_SEEN)]
    assert rule().last_resort([*paused, *diverged]) is not None


def test_a_trial_that_diverged_is_not_what_there_is_to_beat() -> None:
    paused = [trial(number, [2.0 + number / 10] * 3, TrialState.PAUSED) for number in range(7)]
    alone = rule().forecasts(paused)[0].best
    diverged = trial(9, [0.2, 0.1, 0.05], TrialState.DIVERGED)
    assert rule().forecasts([*paused, diverged])[0].best == pytest.approx(alone, abs=0.5)


def test_a_sweep_trains_its_best_to_the_end_and_few_others(drive: Drive) -> None:
    driver = drive(curving(), LocalExecutor(1))
    trials = swept(driver).trials
    best = min(trials, key=lambda trial: trial.chosen["quality"])
    assert driver.outcome is not None
    assert driver.outcome.best is best
    assert states(driver)[TrialState.COMPLETE] <= 10
    assert states(driver)[TrialState.COMPLETE] + states(driver)[TrialState.PRUNED] == 18
    assert all("expected at the end" in trial.reason for trial in trials if trial.state is TrialState.PRUNED)


def test_two_objectives_are_judged_by_the_first(drive: Drive) -> None:
    driver = drive(curving(objective={"cost": "seconds"}))
    assert states(driver)[TrialState.COMPLETE] >= 1
    assert states(driver)[TrialState.PAUSED] == 0


@pytest.mark.parametrize("lives", [[7], [3, 20], [31, 2, 9]])
@pytest.mark.parametrize("sampler", ["random", "cost_aware"])
def test_a_killed_sweep_goes_on_as_if_it_had_not_been(lives: list[int], sampler: str, tmp_path: Path) -> None:
    spec = curving(
        workload={"kind": f"{Wavering.__module__}:Wavering"},
        search={"sampler": sampler, "pruner": "curves", "seed": 5},
        budget={"trials": 12, "evaluations": EVALUATIONS},
    )
    order, driver = drive_through_kills(spec, tmp_path, lives, 1)
    _, whole = drive_through_kills(spec.model_copy(update={"name": "whole"}), tmp_path, [], 1)
    assert len(order) == len(set(order))
    assert [(len(t.evaluations), t.state, t.chosen) for t in swept(driver).trials] == [
        (len(t.evaluations), t.state, t.chosen) for t in swept(whole).trials
    ]
