"""The gradient's advice beside what the sweep found: when they agree, when not, when nobody knows."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from orchestrator.pages import plain
from orchestrator.report.findings import Report
from orchestrator.report.words import page_of
from tests.orchestrator.recorded import Recorded
from tests.orchestrator.report.conftest import ALL, ReportOn, tried

HORIZON = {
    "horizon_reach": 90.0,
    "horizon_length": 40.0,
    "horizon_bias": 0.08,
    "horizon_decay": 0.95,
    "horizon_norm/distance:1": 1.0,
    "horizon_norm/distance:64": 0.04,
    "horizon_bias/length:32": 0.12,
}


def with_horizon(trials: list[Recorded], **changes: Any) -> list[Recorded]:
    """Return the trials, each having measured the horizon; a change to `...` takes a metric away."""
    measured = {name: value for name, value in {**HORIZON, **changes}.items() if value is not ...}
    return [dataclasses.replace(trial, metrics={**trial.metrics, **measured}) for trial in trials]


def sentence(report: Report) -> str:
    lines = plain(page_of(report)).splitlines()
    return lines[lines.index("The gradient's horizon beside the sweep") + 2]


def test_an_advice_near_what_the_sweep_found_agrees_with_it(report_on: ReportOn) -> None:
    report = report_on(with_horizon(ALL))
    assert report.horizon is not None
    assert (report.horizon.agrees, report.horizon.advised, report.horizon.why) == (True, 40, "")
    assert sentence(report) == (
        "The best trial's gradient falls below 1 % after 90 steps, by a factor of 0.9500 a step. The gradient horizon "
        "of the best trial advises a truncation length of 40, the shortest at which the gradient's estimated bias is "
        "at most 10 %; at its own 32 it is about 8 %. The sweep found 32 best: they agree."
    )


def test_an_advice_that_the_sweep_found_to_be_worse_does_not_agree(report_on: ReportOn) -> None:
    report = report_on(with_horizon(ALL, horizon_length=128.0))
    assert report.horizon is not None
    assert report.horizon.agrees is False
    assert "they do not agree. It may be that" in sentence(report)


def test_where_updates_go_with_the_length_that_is_the_first_reason_to_think_of(report_on: ReportOn) -> None:
    trials = with_horizon(ALL, horizon_length=100.0)
    trials = [
        dataclasses.replace(each, metrics={**each.metrics, "updates": 10_000 / each.truncation_length})
        for each in trials
    ]
    assert "more frequent updates of a short window" in sentence(report_on(trials))


def test_an_advice_more_than_twice_as_short_does_not_agree_although_nothing_is_sure(report_on: ReportOn) -> None:
    report = report_on(with_horizon([*ALL], horizon_length=15.0))
    assert report.horizon is not None
    assert report.horizon.agrees is False
    assert "reached further before" in report.horizon.why or "different numbers of updates" in report.horizon.why


def test_an_advice_outside_of_what_was_tried_is_said_to_be(report_on: ReportOn) -> None:
    report = report_on(with_horizon(ALL, horizon_length=1000.0))
    assert report.horizon is not None
    assert report.horizon.agrees is False
    assert report.horizon.why == "the advice lies outside of the lengths tried, of which 128 is the nearest"


@pytest.mark.parametrize(
    ("changes", "trials", "blocks", "words"),
    [
        ({"horizon_length": ...}, ALL, {}, "not known: the gradient was not followed far enough"),
        ({}, ALL[:2], {}, "not known: there are too few complete trials"),
        ({}, [tried("lstm", 32), tried("gru", 32)], {}, "not known: there are too few complete trials"),
    ],
    ids=["no-advice", "few-trials", "one-length"],
)
def test_where_one_of_the_two_says_nothing_it_is_not_known(
    report_on: ReportOn, changes: dict[str, Any], trials: list[Recorded], blocks: dict[str, Any], words: str
) -> None:
    report = report_on(with_horizon(trials, **changes), **blocks)
    assert report.horizon is not None
    assert report.horizon.agrees is None
    assert words in sentence(report)


def test_a_gradient_that_never_fell_below_a_hundredth_is_said_to_reach_as_far_as_it_was_followed(
    report_on: ReportOn,
) -> None:
    words = sentence(report_on(with_horizon(ALL, horizon_reach=...)))
    assert words.startswith("As far as it was followed, the best trial's gradient never fell below 1 %")


def test_without_a_horizon_measured_there_is_none(report_on: ReportOn) -> None:
    report = report_on([Recorded("gru", 64, [1.0])])
    assert report.horizon is None
    assert "horizon" not in plain(page_of(report))


def test_the_horizon_by_distance_and_length_is_a_table_each(report_on: ReportOn) -> None:
    report = report_on(with_horizon(ALL))
    assert {found.kind for found in report.groups} == {"distance", "length"}
