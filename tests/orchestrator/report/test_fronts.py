"""Fronts of quality against cost, beside the definition itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.pages import plain
from orchestrator.pareto import undominated
from orchestrator.report import make_report
from orchestrator.report.evidence import Point
from orchestrator.report.words import page_of
from orchestrator.settings import Settings
from orchestrator.trial import TrialState
from tests.orchestrator.recorded import Recorded, record_sweep, spec_with

few = st.integers(0, 5).map(float)


@given(pairs=st.lists(st.tuples(few, few), max_size=12), sign=st.sampled_from([1.0, -1.0]))
def test_a_front_is_what_no_point_beats(pairs: list[tuple[float, float]], sign: float) -> None:
    points = [Point(number, value, cost, {}) for number, (value, cost) in enumerate(pairs)]

    def beats(one: Point, other: Point) -> bool:
        mine, theirs = (sign * one.value, one.cost), (sign * other.value, other.cost)
        return mine[0] <= theirs[0] and mine[1] <= theirs[1] and mine != theirs

    front = undominated(points, sign)
    assert {point.trial for point in front} == {
        point.trial for point in points if not any(beats(other, point) for other in points)
    }
    assert [point.cost for point in front] == sorted(point.cost for point in front)


def costing(length: int, value: float, *, rate: float, memory: float, **more: object) -> Recorded:
    metrics = {"sequence_steps_per_second": rate, "peak_memory_mb": memory}
    return Recorded("gru", length, [3.0, value], metrics=metrics, **more)  # type: ignore[arg-type]


def test_a_report_shows_both_fronts_with_the_objectives_own_first(sweep_settings: Settings) -> None:
    trials = [
        costing(8, 2.0, rate=1000.0, memory=50.0),
        costing(16, 1.5, rate=500.0, memory=40.0),
        costing(32, 1.7, rate=100.0, memory=60.0),
        costing(64, 0.5, rate=100.0, memory=60.0, state=TrialState.DIVERGED),
    ]
    spec = spec_with(objective={"metric": "valid_loss", "cost": "memory"})
    report = make_report(record_sweep(sweep_settings, trials, spec=spec), "recorded")
    memory, seconds = report.fronts
    assert (memory.cost, [point.trial for point in memory.points]) == ("memory", [1])
    assert (seconds.cost, [(point.trial, point.cost) for point in seconds.points]) == (
        "seconds",
        [(0, 20.0), (1, 40.0)],
    )
    text = plain(page_of(report))
    assert "Of 3 complete trials, those that no other one beats in both." in text
    assert "40 MB" in text


def test_a_cost_that_was_not_measured_has_no_front(sweep_settings: Settings) -> None:
    report = make_report(record_sweep(sweep_settings, [Recorded("gru", 8, [], TrialState.FAILED)]), "recorded")
    assert report.fronts == []
