"""Reports: the answer, what mattered, tables, reasons, cost, baselines, gradients."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from orchestrator.database.ledger import Ledger
from orchestrator.errors import SweepNotFound
from orchestrator.pages import markdown, plain
from orchestrator.report import make_report
from orchestrator.report.findings import Report
from orchestrator.report.words import page_of
from orchestrator.settings import Settings
from orchestrator.spec import spec_from
from orchestrator.trial import TrialState
from tests.fakes import KIND
from tests.orchestrator.recorded import DATASET, Recorded, record_sweep, spec_with

MIXED = [
    Recorded("lstm", 64, [2.5, 2.0, 1.7, 1.5]),
    Recorded("lstm", 33, [2.6, 2.1, 1.8, 1.51]),
    Recorded("gru", 8, [2.7, 2.5, 2.4, 2.3]),
    Recorded("rnn", 5, [2.9, 2.8, 2.7, 2.6], learning_rate=0.001),
    Recorded("rnn", 17, [2.8, 2.6], TrialState.PRUNED, "not promising after 2 of 4 evaluations"),
    Recorded("gru", 20, [2.8], TrialState.DIVERGED, "the training loss became nan", learning_rate=0.1),
    Recorded("gru", 100, [], TrialState.DIVERGED, "the training loss became nan", learning_rate=0.09),
    Recorded("lstm", 90, [], TrialState.OUT_OF_MEMORY, "no memory is left"),
]


def report_on(settings: Settings, trials: list[Recorded], **blocks: Any) -> Report:
    ledger = record_sweep(settings, trials, spec=spec_with(**blocks))
    return make_report(ledger, "recorded")


def first_sentence(report: Report) -> str:
    return plain(page_of(report)).splitlines()[2]


def test_the_first_sentence_names_the_truncation_length_and_the_shortest_that_does_nearly_as_well(
    sweep_settings: Settings,
) -> None:
    report = report_on(sweep_settings, MIXED)
    assert (report.answer.best, report.answer.shortest) == (64, 33)
    assert first_sentence(report) == (
        "Use a truncation length of 64: the best of 4 complete trials has it (trial 0, valid_loss 1.500). "
        "The shortest that does nearly as well is 33 (trial 1, valid_loss 1.510)."
    )


def test_a_shorter_length_that_loses_much_is_not_called_nearly_as_good(sweep_settings: Settings) -> None:
    report = report_on(
        sweep_settings, [Recorded("gru", 64, [1.0]), Recorded("gru", 8, [1.5]), Recorded("gru", 9, [2.0])]
    )
    assert report.answer.shortest == 64
    assert "nearly" not in first_sentence(report)


@pytest.mark.parametrize(("length", "edge", "words"), [(256, "upper", "a longer one"), (4, "lower", "a shorter one")])
def test_a_best_length_at_the_edge_of_what_was_searched_is_called_so(
    sweep_settings: Settings, length: int, edge: str, words: str
) -> None:
    report = report_on(sweep_settings, [Recorded("gru", length, [1.0]), Recorded("gru", 64, [2.0])])
    assert report.answer.at_edge == edge
    assert words in first_sentence(report)


def test_a_maximized_metric_is_best_at_its_largest(sweep_settings: Settings) -> None:
    trials = [
        Recorded("gru", length, [2.0], metrics={"valid_accuracy": accuracy})
        for length, accuracy in ((8, 0.2), (16, 0.4), (64, 0.9), (128, 0.89))
    ]
    report = report_on(sweep_settings, trials, workload={"kind": "memory"}, objective={"metric": "valid_accuracy"})
    assert report.best is not None
    assert (report.best["value"], report.answer.best) == (0.9, 64)
    assert [group.best for group in report.truncation_lengths] == [0.2, 0.4, 0.9, 0.89]


def test_a_sweep_without_truncation_lengths_says_that_it_cannot_tell(sweep_settings: Settings) -> None:
    spec = spec_from(
        {
            "name": "recorded",
            "workload": {"kind": "language_model"},
            "space": {"cell_type": ["rnn", "gru"]},
            "train": {"truncation_length": 40, "batch_size": 4},
        }
    )
    report = make_report(record_sweep(sweep_settings, [Recorded("gru", 0, [2.0])], spec=spec), "recorded")
    assert not report.answer.swept
    assert "was 40 in all trials" in first_sentence(report)


def test_a_workload_of_ones_own_is_not_said_to_have_a_truncation_length(sweep_settings: Settings) -> None:
    given = {"name": "recorded", "workload": {"kind": KIND}, "space": {"quality": {"float": [0.1, 1.0]}}}
    report = make_report(record_sweep(sweep_settings, [Recorded("", 0, [2.0])], spec=spec_from(given)), "recorded")
    assert (report.cell_types, report.truncation_lengths) == ([], [])
    assert "says nothing of a truncation length" in first_sentence(report)


def test_a_running_sweep_is_reported_so_far(sweep_settings: Settings) -> None:
    trials = [*MIXED[:2], Recorded("gru", 50, [2.0], state=None)]
    report = make_report(record_sweep(sweep_settings, trials, state="interrupted"), "recorded")
    assert first_sentence(report).startswith("So far: Use a truncation length of 64")
    assert report.states == {"complete": 2, "running": 1}
    assert "unfinished" in plain(page_of(report))


def test_a_sweep_without_a_complete_trial_has_no_answer_and_no_table_values(sweep_settings: Settings) -> None:
    report = make_report(
        record_sweep(sweep_settings, [Recorded("gru", 50, [2.0], state=None)], state="running"), "recorded"
    )
    assert report.best is None
    assert "no answer yet" in first_sentence(report)
    assert report.cell_types[0].best is None
    assert report.cost.sequence_steps == 10_000


def test_a_sweep_without_any_trial_is_reported(sweep_settings: Settings) -> None:
    ledger = Ledger(sweep_settings.study_url)
    ledger.create("recorded", spec_with().plain())
    text = plain(page_of(make_report(ledger, "recorded")))
    assert "0 of 12 trials begun" in text


def test_an_unknown_sweep_is_not_found(sweep_settings: Settings) -> None:
    with pytest.raises(SweepNotFound, match="nobody"):
        make_report(Ledger(sweep_settings.study_url), "nobody")


def test_what_makes_the_difference_is_the_most_important(sweep_settings: Settings) -> None:
    trials = [
        Recorded(cell, length, [{"lstm": 1.0, "gru": 2.0, "rnn": 3.0}[cell] + length / 10_000])
        for cell in ("rnn", "gru", "lstm")
        for length in (8, 32, 128)
    ]
    found = report_on(sweep_settings, trials).importance
    assert next(iter(found.parts)) == "cell_type"
    assert found.parts["cell_type"] > 0.9
    assert sum(found.parts.values()) == pytest.approx(1)


def test_importance_is_the_same_every_time(sweep_settings: Settings) -> None:
    ledger = record_sweep(sweep_settings, MIXED)
    assert make_report(ledger, "recorded").importance == make_report(ledger, "recorded").importance


@pytest.mark.parametrize(
    ("trials", "note"),
    [
        ([Recorded("gru", 8, [1.0])], "fewest to judge by"),
        ([Recorded("gru", 8 + index, [1.0]) for index in range(5)], "the same value"),
        ([Recorded("gru", 8, [1.0 + index]) for index in range(5)], "do not differ"),
        ([Recorded("gru", 8 + index, [1e-12 * (index % 2)]) for index in range(6)], "differ too little"),
    ],
    ids=["too-few", "one-value", "one-setting", "alike"],
)
def test_importance_is_not_made_up(sweep_settings: Settings, trials: list[Recorded], note: str) -> None:
    report = report_on(sweep_settings, trials)
    assert report.importance.parts == {}
    assert note in report.importance.note
    assert note in plain(page_of(report))


def test_each_cell_type_has_its_best_median_and_best_length(sweep_settings: Settings) -> None:
    gru, lstm, rnn = report_on(sweep_settings, MIXED).cell_types
    assert (gru.label, gru.trials, gru.complete, gru.best) == ("gru", 3, 1, 2.3)
    assert (lstm.best, lstm.median, lstm.best_trial, lstm.best_truncation_length) == (1.5, 1.505, 0, 64)
    assert (rnn.label, rnn.trials, rnn.complete) == ("rnn", 2, 1)


def test_many_truncation_lengths_are_put_into_ranges_that_double(sweep_settings: Settings) -> None:
    trials = [Recorded("gru", length, [3 - length / 100]) for length in (4, 5, 6, 7, 8, 15, 16, 31, 32, 63)]
    groups = report_on(sweep_settings, trials).truncation_lengths
    assert [group.label for group in groups] == ["4 to 7", "8 to 15", "16 to 31", "32 to 63"]
    assert sum(group.trials for group in groups) == len(trials)


def test_reasons_are_put_together_and_pruned_trials_are_none(sweep_settings: Settings) -> None:
    report = report_on(sweep_settings, MIXED)
    assert [(reason.state, list(reason.trials)) for reason in report.reasons] == [
        ("diverged", [5, 6]),
        ("out of memory", [7]),
    ]
    assert report.states == {"complete": 4, "pruned": 1, "diverged": 2, "out of memory": 1}


def test_the_cost_adds_up_all_trials(sweep_settings: Settings) -> None:
    cost = report_on(sweep_settings, MIXED).cost
    assert cost.sequence_steps == 190_000
    assert cost.trial_s == pytest.approx(190_000 / 5000)
    assert cost.sequence_steps_per_second == pytest.approx(5000)
    assert (cost.wall_s, cost.peak_memory_mb) == (60.0, 100.0)


def test_a_cost_that_was_measured_as_no_number_is_none(sweep_settings: Settings) -> None:
    odd = {"sequence_steps_per_second": math.nan, "peak_memory_mb": math.inf}
    report = report_on(sweep_settings, [Recorded("gru", 8 + index, [1.0 + index], metrics=odd) for index in range(3)])
    assert (report.cost.trial_s, report.cost.peak_memory_mb) == (0.0, None)
    assert report.fronts == []
    assert "nan" not in plain(page_of(report))


def test_values_too_large_for_an_estimate_have_none(sweep_settings: Settings) -> None:
    trials = [Recorded("gru", 8 + index, [1e300 * (index + 1)]) for index in range(5)]
    report = report_on(sweep_settings, trials)
    assert report.curve.estimates == ()
    assert "too large" in report.curve.note


def test_a_model_that_loses_to_a_baseline_is_called_not_worth_using(sweep_settings: Settings) -> None:
    beaten = report_on(sweep_settings, MIXED)
    assert beaten.baselines[0].beaten is True
    assert "not worth using" not in plain(page_of(beaten))


def test_a_model_that_beats_no_baseline_is_said_to(sweep_settings: Settings) -> None:
    report = report_on(sweep_settings, [Recorded("gru", 8, [3.5])])
    assert report.baselines[0].beaten is False
    assert (
        "The best trial loses to unigram: valid_loss 3.500 beside 3.000. As it stands, it is not worth using."
        in plain(page_of(report))
    )


FORECAST = {"kind": "forecast", "series": "seattle-weather"}


def forecast_report(settings: Settings, metrics: dict[str, float], baselines: dict[str, float]) -> Report:
    ledger = record_sweep(
        settings, [Recorded("gru", 8, [metrics["valid_mse"]], metrics=metrics)], spec=spec_with(workload=FORECAST)
    )
    ledger.update("recorded", dataset={**DATASET, "baselines": baselines})
    return make_report(ledger, "recorded")


def test_a_forecast_that_loses_to_the_last_value_is_told_so_in_text_markdown_and_json(sweep_settings: Settings) -> None:
    metrics = {"valid_mse": 0.051, "test_mse": 0.06}
    report = forecast_report(sweep_settings, metrics, {"naive/valid_mse": 0.034, "naive/test_mse": 0.04})
    sentence = (
        "The best trial loses to the naive forecast (repeating the last value): valid_mse 0.05100 beside 0.03400, "
        "test_mse 0.06000 beside 0.04000. It is no forecast to use."
    )
    assert plain(page_of(report)).splitlines()[4] == sentence  # right behind the answer
    assert sentence in markdown(page_of(report))
    assert json.loads(json.dumps(report.plain()))["losses"] == [sentence]


def test_a_forecast_that_is_as_good_as_the_last_value_and_no_better_is_no_forecast(sweep_settings: Settings) -> None:
    report = forecast_report(sweep_settings, {"valid_mse": 0.034}, {"naive/valid_mse": 0.034})
    assert report.losses == [
        "The best trial does no better than the naive forecast (repeating the last value): valid_mse 0.03400 beside "
        "0.03400. It is no forecast to use."
    ]


def test_a_forecast_that_beats_a_baseline_by_most_metrics_is_told_the_one_it_does_not(sweep_settings: Settings) -> None:
    metrics = {"valid_mse": 0.03, "test_mse": 0.03, "valid_smape": 9.0, "valid_direction_accuracy": 0.6}
    baselines = {"naive/valid_mse": 0.04, "naive/test_mse": 0.04, "naive/valid_smape": 8.0}
    report = forecast_report(sweep_settings, metrics, {**baselines, "always_up/valid_direction_accuracy": 0.5})
    assert report.losses == [
        "The best trial beats the naive forecast (repeating the last value) by valid_mse, test_mse, but not by "
        "valid_smape 9.000 beside 8.000."
    ]


def test_metrics_of_groups_are_tables_by_kind_and_no_baselines(sweep_settings: Settings) -> None:
    metrics = {
        "valid_mse": 0.5,
        "test_mse/step:1": 0.25,
        "test_mse/step:24": 0.75,
        "test_mae/step:24": 0.125,
        "valid_character_error_rate/speaker:jackson": 0.5,
    }
    report = forecast_report(sweep_settings, metrics, {"naive/valid_mse": 1.0, "naive/test_mae/step:24": 0.5})
    assert [found.metric for found in report.baselines] == ["valid_mse"]
    text = markdown(page_of(report))
    assert "## By step (best trial)\n\n| step | test_mse | test_mae | test_mae (naive) |" in text
    assert "| 1 | 0.2500 | - | - |" in text
    assert "| 24 | 0.7500 | 0.1250 | 0.5000 |" in text
    assert "## By speaker (best trial)\n\n| speaker | valid_character_error_rate |" in text
    speakers, steps = json.loads(json.dumps(report.plain()))["groups"]
    assert speakers["kind"] == "speaker"
    assert steps["members"]["24"] == {"test_mse": 0.75, "test_mae": 0.125, "test_mae (naive)": 0.5}


def test_a_baseline_whose_metric_was_not_measured_has_no_verdict(sweep_settings: Settings) -> None:
    ledger = record_sweep(sweep_settings, MIXED)
    ledger.update("recorded", dataset={**DATASET, "baselines": {"naive/valid_mse": 1.0}})
    assert make_report(ledger, "recorded").baselines[0].beaten is None


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"horizon_decay": 0.5, "horizon_reach": 8.0, "horizon_length": 5.0}, "falls below 1 % after 8 steps"),
        ({"horizon_decay": 0.9, "horizon_length": 20.0, "horizon_edge": 20.0}, "falls at one blow"),
        ({"horizon_decay": 1.2, "horizon_bias": 1.0}, "It explodes"),
    ],
    ids=["vanishing", "edge", "exploding"],
)
def test_the_gradient_of_the_best_trial_is_put_in_words(
    sweep_settings: Settings, metrics: dict[str, float], words: str
) -> None:
    report = report_on(sweep_settings, [Recorded("gru", 64, [1.0], metrics=metrics)])
    assert words in plain(page_of(report))


def test_a_trial_whose_gradients_are_never_cut_has_no_truncation_length(sweep_settings: Settings) -> None:
    spec = spec_with(train={"batch_size": 4, "truncation": "full"})
    report = make_report(record_sweep(sweep_settings, MIXED, spec=spec), "recorded")
    assert report.truncation_lengths == []
    assert report.answer.best is None
    assert plain(page_of(report))


def test_a_report_survives_json_and_markdown(sweep_settings: Settings) -> None:
    report = report_on(sweep_settings, MIXED)
    assert json.loads(json.dumps(report.plain()))["answer"]["best"] == 64
    text = markdown(page_of(report))
    assert text.startswith("# recorded: language_model\n")
    assert "| lstm | 3 | 2 | 1.500 | 1.505 | 0 | 64 |" in text
