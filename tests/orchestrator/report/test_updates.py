"""Truncation and the number of updates: told apart where a sweep lets them be, called confounded where not."""

from __future__ import annotations

import math
from typing import Any

import pytest

from orchestrator.pages import plain
from orchestrator.report import make_report
from orchestrator.report.words import page_of
from orchestrator.settings import Settings
from orchestrator.spec import spec_from
from orchestrator.sweep_file import bundled_sweeps, find_spec
from tests.fakes import KIND
from tests.orchestrator.recorded import SPEC, Recorded, record_sweep
from tests.orchestrator.report.conftest import ALL, ReportOn

BATCH = 4


def counted(length: int, steps: float, value: float = 1.0, **others: Any) -> Recorded:
    """Return a trial of 10,000 sequence steps with an update every `steps` steps of each stream."""
    return Recorded("gru", length, [value], metrics={"updates": 10_000 / (steps * BATCH)}, others=others)


def test_windows_that_lie_end_to_end_are_called_confounded_with_updates(report_on: ReportOn) -> None:
    report = report_on([counted(length, length) for length in (8, 16, 64, 100)])
    assert (report.updates.kind, report.updates.tied, report.updates.falling) == ("confounded", True, True)
    assert (
        "In this sweep a longer window also meant fewer updates (k1 = k2: one every 8 to 100 steps of a stream), so "
        "the difference is not truncation alone; fix train.k1 to tell them apart."
    ) in plain(page_of(report))


def test_what_was_set_says_as_much_where_nothing_was_counted(report_on: ReportOn) -> None:
    assert report_on(ALL).updates.kind == "confounded"


def test_a_fixed_k1_makes_as_many_updates_and_leaves_the_truncation(report_on: ReportOn) -> None:
    report = report_on(
        [counted(length, 4 * (1 + length / 10_000)) for length in (8, 16, 64)], train={"batch_size": BATCH, "k1": 4}
    )
    assert (report.updates.kind, report.updates.tied) == ("equal", False)
    assert "(about one every 4 steps of a stream)" in plain(page_of(report))


def test_whole_sequences_make_as_many_updates_whatever_the_window(report_on: ReportOn) -> None:
    """An utterance is one update: what was counted goes before what k1 would say."""
    assert report_on([counted(length, 150) for length in (8, 16, 64)]).updates.kind == "equal"


def reach_and_updates(length: int, k1: int) -> float:
    """A loss that falls with the reach and rises with the steps between updates, three times as fast."""
    return 3.0 - 0.1 * math.log2(length) + 0.3 * math.log2(k1)


APART = {**SPEC["space"], "k1_fraction": {"float": [0.1, 1.0]}}


def test_reach_and_updates_varied_apart_are_shown_apart(report_on: ReportOn) -> None:
    trials = [
        counted(length, k1, reach_and_updates(length, k1), k1_fraction=k1 / length)
        for length in (8, 16, 32, 64)
        for k1 in (8, 16, 32, 64)
        if k1 <= length and k1 / length >= 0.1
    ]
    report = report_on(trials, space=APART)
    found = report.updates
    assert found.kind == "apart"
    assert {each.k1 for each in found.by_reach} == {8}  # the best trial's
    assert [each.truncation_length for each in found.by_reach] == [8, 16, 32, 64]
    assert {each.truncation_length for each in found.by_k1} == {64}
    for each in (*found.by_reach, *found.by_k1):
        assert each.k1 is not None
        truth = reach_and_updates(each.truncation_length, each.k1)
        assert each.low - 0.05 <= truth <= each.high + 0.05
    reach, updates = (
        max(each.value for each in some) - min(each.value for each in some) for some in (found.by_reach, found.by_k1)
    )
    assert updates > 2 * reach
    text = plain(page_of(report))
    assert "Reach alone, while k1 is 8" in text
    assert "Updates alone, while the truncation length is 64" in text


def test_effects_are_not_made_up_from_a_few_trials(report_on: ReportOn) -> None:
    trials = [counted(64, 8, 1.0, k1_fraction=0.125), counted(8, 8, 2.0, k1_fraction=1.0), counted(64, 64, 3.0)]
    report = report_on(trials, space=APART)
    assert (report.updates.kind, report.updates.by_reach) == ("apart", [])
    assert "too few trials to show both effects" in plain(page_of(report))


@pytest.mark.parametrize("trials", [[], [counted(8, 8)], [counted(8, 8), counted(8, 8, 2.0)]], ids=["0", "1", "one"])
def test_one_length_alone_says_nothing_of_updates(report_on: ReportOn, trials: list[Recorded]) -> None:
    report = report_on(trials)
    assert report.updates.kind == "unknown"
    assert "number of updates" not in plain(page_of(report))


def test_a_workload_of_ones_own_is_not_asked_for_updates(sweep_settings: Settings) -> None:
    given = {"name": "recorded", "workload": {"kind": KIND}, "space": {"quality": {"float": [0.1, 1.0]}}}
    trials = [Recorded("", 0, [2.0 + index], others={"quality": 0.2 + index / 10}) for index in range(5)]
    report = make_report(record_sweep(sweep_settings, trials, spec=spec_from(given)), "recorded")
    assert report.updates.kind == "unknown"


def test_the_bundled_sweep_of_reach_holds_k1_below_every_length_and_compares_at_equal_settings() -> None:
    assert "reach" in bundled_sweeps()
    spec = find_spec("reach")
    assert int(str(spec.train["k1"])) < min(spec.space["truncation_length"].ends())
    assert spec.search.sampler == "grid"


def test_the_bundled_sweep_of_updates_varies_both() -> None:
    spec = find_spec("updates")
    assert {"truncation_length", "k1_fraction"} <= set(spec.space)
    assert spec.objective.cost == "seconds"
