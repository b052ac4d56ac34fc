"""What to expect by truncation length, how sure a recommendation is, and that little is not made much of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.pages import markdown, plain
from orchestrator.report import make_report
from orchestrator.report.words import page_of
from orchestrator.settings import Settings
from orchestrator.spec import spec_from
from orchestrator.trial import TrialState
from tests.fakes import KIND
from tests.orchestrator.recorded import SPEC, Recorded, record_sweep
from tests.orchestrator.report.conftest import ALL, ReportOn, loss_of, tried


def test_each_length_of_each_cell_type_has_an_interval_that_holds_its_best_value(report_on: ReportOn) -> None:
    report = report_on(ALL)
    assert [(each.cell_type, each.truncation_length) for each in report.curve.estimates] == [
        (cell, length) for cell in ("gru", "lstm") for length in (8, 16, 32, 64, 128)
    ]
    for each in report.curve.estimates:
        truth = loss_of(each.cell_type, each.truncation_length, 0.01)
        assert each.low <= each.value <= each.high
        assert abs(each.value - truth) < 0.1
    assert "32  1." in plain(page_of(report))
    best = min(report.curve.estimates, key=lambda each: each.value)
    assert (best.cell_type, best.truncation_length) == ("lstm", 32)


def test_the_estimate_needs_no_trial_at_that_very_setting(report_on: ReportOn) -> None:
    """No gru was tried at 32 steps; what the lstms and its neighbours did says where it would be."""
    report = report_on([trial for trial in ALL if (trial.cell_type, trial.truncation_length) != ("gru", 32)])
    known = {(each.cell_type, each.truncation_length): each for each in report.curve.estimates}
    assert known["gru", 32].low <= loss_of("gru", 32, 0.01) <= known["gru", 32].high
    assert known["gru", 32].high - known["gru", 32].low > known["lstm", 32].high - known["lstm", 32].low


def test_a_maximised_metric_is_estimated_as_its_mirror_image_is_minimised(report_on: ReportOn) -> None:
    trials = [
        Recorded(each.cell_type, each.truncation_length, [9.0], learning_rate=each.learning_rate, metrics=metrics)
        for each in ALL
        if (metrics := {"valid_accuracy": 1 - each.values[-1] / 10})
    ]
    report = report_on(trials, workload={"kind": "memory"}, objective={"metric": "valid_accuracy"})
    best = max(report.curve.estimates, key=lambda each: each.value)
    assert (best.cell_type, best.truncation_length) == ("lstm", 32)
    assert best.value == pytest.approx(0.9, abs=0.01)
    assert report.advice is not None
    assert report.advice.probability is not None
    assert report.advice.probability > 0.5


def test_losses_over_orders_of_magnitude_are_never_expected_below_zero(report_on: ReportOn) -> None:
    trials = [
        Recorded(cell, length, [2.08 if length < 20 else 1e-4 * length])
        for cell in ("gru", "lstm")
        for length in (8, 12, 16, 24, 32, 48)
    ]
    assert all(each.low > 0 for each in report_on(trials).curve.estimates)


def test_many_lengths_are_estimated_at_some_between_the_ends_of_those_tried(report_on: ReportOn) -> None:
    report = report_on([tried("lstm", length) for length in range(8, 128, 6)])
    lengths = [each.truncation_length for each in report.curve.estimates]
    assert (lengths[0], lengths[-1], len(lengths)) == (8, 122, 7)


@pytest.mark.parametrize("complete", [0, 1, 2, 3])
def test_a_few_trials_are_too_few_to_estimate_from_and_said_to_be(report_on: ReportOn, complete: int) -> None:
    report = report_on([*ALL[:complete], Recorded("gru", 50, [2.0], TrialState.PRUNED, "lagging")])
    text = plain(page_of(report))
    assert report.curve.estimates == ()
    assert f"Not estimated from {complete} complete trial" in text
    assert "4 complete trials are the fewest to estimate from" in text
    if complete:
        assert report.advice is not None
        assert report.advice.probability is None
        assert f"Not sure: {complete} complete trial" in text
    else:
        assert report.advice is None


def test_equal_values_teach_nothing(report_on: ReportOn) -> None:
    report = report_on([Recorded("gru", length, [1.5]) for length in (8, 16, 32, 64, 128)])
    assert report.curve.note == "all complete trials came to the same value"
    assert report.advice is not None
    assert report.advice.probability is None
    assert "came to the same value" in plain(page_of(report))


def test_trials_that_do_not_differ_are_not_estimated_from(report_on: ReportOn) -> None:
    report = report_on([Recorded("gru", 8, [1.5 + index]) for index in range(5)])
    assert "do not differ" in report.curve.note


def test_a_condition_that_is_not_met_is_no_obstacle(report_on: ReportOn) -> None:
    space = {
        **SPEC["space"],
        "optimizer": ["Adam", "SGD"],
        "momentum": {"float": [0.5, 0.95], "when": {"optimizer": ["SGD"]}},
    }
    trials = [
        tried(each.cell_type, each.truncation_length, each.learning_rate, others=others)
        for index, each in enumerate(ALL)
        if (others := {"optimizer": "SGD", "momentum": 0.5 + index / 50} if index % 2 else {"optimizer": "Adam"})
    ]
    report = report_on(trials, space=space)
    assert len(report.curve.estimates) == 10
    best = min(report.curve.estimates, key=lambda each: each.value)
    assert abs(best.value - 1.0) < 0.15


def test_one_trial_that_went_wrong_does_not_make_the_rest_look_alike(report_on: ReportOn) -> None:
    report = report_on([*ALL, Recorded("lstm", 30, [1e6], learning_rate=0.09)])
    widths = [each.high - each.low for each in report.curve.estimates]
    assert max(widths) < 2.0


def test_a_workload_of_ones_own_has_no_curve_and_a_recommendation_all_the_same(sweep_settings: Settings) -> None:
    given = {"name": "recorded", "workload": {"kind": KIND}, "space": {"quality": {"float": [0.1, 1.0]}}}
    trials = [Recorded("", 0, [2.0 + index], others={"quality": 0.1 + index / 10}) for index in range(6)]
    report = make_report(record_sweep(sweep_settings, trials, spec=spec_from(given)), "recorded")
    assert report.curve.estimates == ()
    assert report.advice is not None
    assert (report.advice.probability, report.advice.setting) == (None, {"quality": 0.1})
    text = plain(page_of(report))
    assert "Recommended setting" in text
    assert "What to expect" not in text


def test_a_clear_best_length_is_recommended_with_confidence_and_the_whole_setting(report_on: ReportOn) -> None:
    report = report_on(ALL)
    advice = report.advice
    assert advice is not None
    assert advice.setting == {
        "cell_type": "lstm",
        "truncation_length": 32,
        "learning_rate": 0.01,
        "batch_size": 4,
    }
    assert advice.probability is not None
    assert advice.probability > 0.8
    assert (advice.trials, advice.compared, advice.doubts) == (20, 20, [])
    assert "Truncation lengths were compared at equal other settings." in plain(page_of(report))


def test_a_best_length_by_luck_is_recommended_with_little_confidence(report_on: ReportOn) -> None:
    values = [1.50, 1.58, 1.51, 1.57, 1.52, 1.59, 1.53, 1.56]
    rates = [0.001, 0.03, 0.002, 0.05, 0.01, 0.004, 0.02, 0.007]
    trials = [
        Recorded("gru", length, [value], learning_rate=rate)
        for length, value, rate in zip((8, 200, 20, 64, 128, 40, 90, 12), values, rates, strict=True)
    ]
    advice = report_on(trials).advice
    assert advice is not None
    assert advice.probability is not None
    assert advice.probability < 0.7
    assert advice.doubts[0] == "8 complete trials are few"
    assert any("differ in the truncation length alone" in doubt for doubt in advice.doubts)


def test_a_recommendation_at_the_edge_says_so(report_on: ReportOn) -> None:
    report = report_on([tried("lstm", length) for length in (4, 5, 6)])
    advice = report.advice
    assert advice is not None
    assert not any("end of what was searched" in doubt for doubt in advice.doubts)
    assert report.answer.best == 6


def test_everything_survives_json_and_markdown(report_on: ReportOn) -> None:
    report = report_on(ALL)
    plainly: dict[str, Any] = json.loads(json.dumps(report.plain()))
    assert plainly["curve"]["estimates"][0].keys() >= {"cell_type", "truncation_length", "value", "low", "high"}
    assert plainly["advice"]["setting"]["truncation_length"] == 32
    assert {front["cost"] for front in plainly["fronts"]} == {"seconds", "memory"}
    assert "## What to expect by truncation length (valid_loss)" in markdown(page_of(report))


def test_null_among_the_choices_is_a_value_of_its_own(report_on: ReportOn) -> None:
    space = {**SPEC["space"], "max_grad_norm": [None, 0.5, 1.0, 5.0]}
    trials = [
        Recorded(each.cell_type, each.truncation_length, [each.values[-1] + (norm is None)], others=others)
        for index, each in enumerate(ALL)
        if (others := {"max_grad_norm": (norm := (None, 0.5, 1.0, 5.0)[index % 4])})
    ]
    report = report_on(trials, space=space)
    best = min(report.curve.estimates, key=lambda each: each.value)
    assert best.value < 1.3
    assert report.advice is not None
    assert report.advice.setting["max_grad_norm"] is not None
