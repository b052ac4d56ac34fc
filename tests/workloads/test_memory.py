"""Memory: a lag that no shorter gradient can bridge, and that a long enough one does."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import workloads
from tests.conftest import FolderStorage, prepare_shared
from workloads import checkpoint
from workloads.data.episodes import (
    BLANK,
    CUE,
    NO_ANSWER,
    SYMBOLS,
    GeneratedStream,
    adding_problem,
    copy_problem,
    repeat_problem,
)
from workloads.protocol import Dataset, Progress, Workload

LAG = 8
SMALL: dict[str, Any] = {
    "hidden_size": 24,
    "batch_size": 32,
    "learning_rate": 1e-2,
    "sequence_steps": 120_000,
    "evaluations": 3,
}
CHANGING = ("sequence_steps_per_second", "peak_memory_mb")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def prepared(**options: Any) -> tuple[Workload, Dataset]:
    return prepare_shared("memory", **options)


def measured(progress: Progress) -> dict[str, float]:
    return {name: value for name, value in progress.metrics.items() if name not in CHANGING}


def train(params: dict[str, Any], storage: FolderStorage, **options: Any) -> list[Progress]:
    workload, dataset = prepared(**options)
    workload.check({**SMALL, **params})
    return list(workload.train({**SMALL, **params}, dataset, storage))


def symbol_vectors(progress: Progress, storage: FolderStorage) -> torch.Tensor:
    vectors: torch.Tensor = checkpoint.unpack(storage.read(progress.checkpoint))["network"]["embedding.weight"]
    return vectors[SYMBOLS:]


@pytest.mark.parametrize("cell_type", ["rnn", "gru", "lstm"])
def test_copy_is_solved_with_a_truncation_length_above_the_lag(cell_type: str, storage: FolderStorage) -> None:
    last = train({"cell_type": cell_type, "truncation_length": 2 * LAG}, storage, lag=LAG, symbols=4)[-1]
    assert last.metrics["valid_accuracy"] > 0.95


@pytest.mark.parametrize("params", [{"cell_type": "gru"}, {"cell_type": "lstm"}, {"cell_type": "rnn", "k1": 3}])
def test_copy_stays_at_chance_below_the_lag_for_no_gradient_reaches_a_symbol(
    params: dict[str, Any], storage: FolderStorage
) -> None:
    params = {**params, "truncation_length": LAG - 1, "weight_decay": 0.01, "sequence_steps": 30_000}
    last = train(params, storage, lag=LAG, symbols=4)[-1]
    assert not symbol_vectors(last, storage).any()
    assert last.metrics["valid_accuracy"] == pytest.approx(1 / 4, abs=0.03)


def test_a_truncation_length_of_just_the_lag_solves_the_copy_problem(storage: FolderStorage) -> None:
    last = train({"cell_type": "gru", "truncation_length": LAG}, storage, lag=LAG, symbols=4)[-1]
    assert last.metrics["valid_accuracy"] > 0.95


def test_adding_is_solved_with_a_truncation_length_above_the_lag_and_not_far_below(storage: FolderStorage) -> None:
    losses = [
        train({"cell_type": "gru", "truncation_length": length}, storage, task="adding", lag=6)[-1].metrics["valid_mse"]
        for length in (12, 4)
    ]
    assert losses[0] < 0.02
    assert losses[1] > 0.14


def test_patterns_of_several_symbols_are_recalled_in_order(storage: FolderStorage) -> None:
    options = {"lag": 4, "symbols": 3, "pattern_length": 2}
    progress = train({"cell_type": "gru", "truncation_length": 20}, storage, **options)[-1]
    assert progress.metrics["valid_accuracy"] > 0.95
    predictor = workloads.load("memory", options).predictor(storage.read(progress.checkpoint))
    answers = predictor.predict({"sequence": ["0 2 _ _ ? ? _ _ 2 1 _ _ ? ?", "1 0 _ _ ? ?"]}, {})["answers"]
    assert answers == ["0 2 2 1", "1 0"]


@pytest.mark.parametrize(
    ("options", "params"),
    [
        ({}, {"truncation_length": 24}),
        ({"pattern_length": 3}, {"truncation_length": 20, "k1": 7, "cell_type": "gru", "dropout": 0.2}),
        ({"task": "adding"}, {"truncation_length": 30, "k1": 4, "cell_type": "rnn"}),
        ({"task": "repeat", "shortest_lag": 6}, {"truncation_length": 12}),
        ({}, {"truncation": "full", "batch_size": 2, "dropout": 0.2}),
        ({}, {"truncation": "full", "batch_size": 2, "memory_budget_mb": 0.02}),
    ],
)
def test_a_resumed_trial_equals_an_uninterrupted_one(
    options: dict[str, Any], params: dict[str, Any], storage: FolderStorage
) -> None:
    workload, dataset = prepared(lag=12, **options)
    params = {**SMALL, "sequence_steps": 9000, "batch_size": 8, **params}
    whole = list(workload.train(params, dataset, storage))
    rest = list(workload.train(params, dataset, storage, whole[0].checkpoint))
    assert [measured(progress) for progress in rest] == [measured(progress) for progress in whole[1:]]


def test_every_question_asks_for_the_symbol_lag_steps_before_it_both_ends_counted() -> None:
    inputs, targets = copy_problem(lag=5, symbols=6, pattern_length=1)(np.random.default_rng(0), 400, 7)
    assert inputs.shape == targets.shape == (400, 7)
    step, stream = np.nonzero(targets != NO_ANSWER)
    assert len(step) > 300
    assert (inputs[step, stream] == CUE).all()
    assert (inputs[step - 4, stream] == SYMBOLS + targets[step, stream]).all()
    assert (inputs == CUE).sum() == (inputs >= SYMBOLS).sum() == len(step)


def test_no_window_shorter_than_the_lag_holds_a_symbol_and_any_question_behind_it() -> None:
    for pattern_length in (1, 3):
        problem = copy_problem(lag=6, symbols=4, pattern_length=pattern_length)
        inputs, _ = problem(np.random.default_rng(1), 500, 5)
        for stream in inputs.T:
            symbols, questions = np.flatnonzero(stream >= SYMBOLS), np.flatnonzero(stream == CUE)
            spans = [questions[questions > symbol].min() - symbol + 1 for symbol in symbols]
            assert min(spans) == 6


def test_windows_of_any_length_meet_episodes_in_every_alignment() -> None:
    _, targets = copy_problem(lag=6, symbols=4, pattern_length=1)(np.random.default_rng(2), 3000, 4)
    step, _ = np.nonzero(targets != NO_ANSWER)
    for length in (6, 8, 12, 16):
        assert set(step % length) == set(range(length))


def test_the_last_step_of_an_epoch_asks_so_that_a_horizon_can_be_measured(storage: FolderStorage) -> None:
    for options in ({}, {"pattern_length": 2}, {"task": "adding"}, {"task": "repeat"}):
        first = train({"sequence_steps": 6000, "evaluations": 1, "batch_size": 4}, storage, lag=LAG, **options)[0]
        assert first.metrics["horizon_decay"] > 0


@settings(max_examples=30, deadline=None)
@given(lag=st.integers(2, 12), data=st.data())
def test_a_pattern_is_repeated_as_many_steps_on_as_it_is_long(lag: int, data: st.DataObject) -> None:
    shortest = data.draw(st.integers(2, lag))
    problem = repeat_problem(lag=lag, shortest_lag=shortest, symbols=4)
    inputs, targets = problem(np.random.default_rng(0), 300, 3)
    assert inputs.shape == targets.shape == (300, 3)
    for shown, answers in zip(inputs.T, targets.T, strict=True):
        cues = np.flatnonzero(shown == CUE)
        for cue in cues[:-1]:
            length = int(np.flatnonzero(shown[cue:] == BLANK)[0])
            assert shortest <= length <= lag
            if cue + 2 * length <= 300:
                assert (answers[cue : cue + length] == BLANK).all()
                assert (answers[cue + length : cue + 2 * length] == shown[cue : cue + length]).all()


def test_the_chance_of_the_repeat_problem_is_that_of_guessing_symbols_alone() -> None:
    _, dataset = prepared(lag=10, task="repeat", symbols=4)
    targets = dataset.arrays["targets"]
    guessed = (targets >= SYMBOLS).mean()
    assert dataset.baselines["chance/valid_loss"] == pytest.approx(guessed * math.log(4), rel=0.02)
    assert dataset.baselines["chance/valid_accuracy"] == pytest.approx(1 - guessed * 0.75, rel=0.02)


def test_the_adding_problem_asks_for_the_sum_of_the_two_marked_values() -> None:
    inputs, targets = adding_problem(lag=7)(np.random.default_rng(0), 300, 5)
    value, marker = inputs[..., 0], inputs[..., 1]
    step, stream = np.nonzero(~np.isnan(targets))
    assert (marker[step, stream] == -1).all()
    assert (marker[step - 6, stream] == 1).all()
    assert targets[step, stream] == pytest.approx(value[step - 6, stream] + value[step - 7, stream])
    assert (marker == 1).sum() == 2 * len(step)


def test_epochs_differ_and_come_back_the_same_in_any_order() -> None:
    def stream(seed: int) -> GeneratedStream:
        return GeneratedStream(copy_problem(lag=5, symbols=4, pattern_length=1), length=200, batch_size=3, seed=seed)

    one = stream(1)
    epochs = [one.window(epoch, 0, 200)[0] for epoch in (0, 1, 0)]
    assert (epochs[0] == epochs[2]).all()
    assert (epochs[0] != epochs[1]).any()
    assert (epochs[0] != stream(2).window(0, 0, 200)[0]).any()
    assert (stream(1).window(1, 50, 80)[0] == epochs[1][50:80]).all()


@pytest.mark.parametrize("options", [{"symbols": 5}, {"task": "adding"}])
def test_the_data_are_the_same_every_time_and_the_baseline_is_chance(options: dict[str, Any]) -> None:
    (_, one), (_, other) = prepared(**options), prepared(**options)
    assert one.fingerprint == other.fingerprint
    assert json.loads(json.dumps(one.facts)) == one.facts
    if options.get("task") == "adding":
        asked = one.arrays["targets"][~np.isnan(one.arrays["targets"])]
        assert one.baselines["chance/valid_mse"] == pytest.approx(np.square(asked - 1).mean(), abs=0.01)
    else:
        assert one.baselines["chance/valid_accuracy"] == pytest.approx(0.2)
        assert one.baselines["chance/valid_loss"] == pytest.approx(-np.log(0.2))


@pytest.mark.parametrize("task", ["copy", "adding"])
def test_a_predictor_takes_its_own_example_and_says_what_is_wrong_with_others(
    task: str, storage: FolderStorage
) -> None:
    params = {"sequence_steps": 6000, "evaluations": 1, "batch_size": 4}
    progress = train(params, storage, task=task, lag=5, symbols=3 if task == "copy" else 8)[0]
    predictor = workloads.load("memory", {}).predictor(storage.read(progress.checkpoint))
    columns, options = predictor.example()
    answer = predictor.predict(columns, options)
    assert len(answer["answers"]) == len(columns["sequence"]) == 1
    assert float(answer["answers"][0]) >= -1
    assert predictor.predict({"sequence": [""]}, {})["answers"] == [""]
    with pytest.raises(ValueError, match=r"sequence: .*7x.* is no step"):
        predictor.predict({"sequence": ["7x ?"]}, {})
    with pytest.raises(ValueError, match=r"a column `sequence` is needed; given: text"):
        predictor.predict({"text": ["0 ?"]}, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "paste"}, "workload.task: 'paste'; it must be one of copy, repeat, adding"),
        ({"lag": 1}, "workload.lag: 1; it must be an integer at least 2"),
        ({"symbols": 1}, "workload.symbols: 1; it must be an integer at least 2"),
    ],
)
def test_options_that_make_no_problem_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        workloads.load("memory", options)


def test_the_metrics_that_a_sweep_can_aim_at_are_measured(storage: FolderStorage) -> None:
    for task in ("copy", "repeat", "adding"):
        progress = train({"sequence_steps": 6000, "evaluations": 1, "batch_size": 4}, storage, task=task, lag=5)[0]
        assert set(workloads.load("memory", {"task": task}).objectives) <= set(progress.metrics)
