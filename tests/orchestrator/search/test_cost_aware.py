"""Cost-aware choice: what is worth trying next, when time counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from orchestrator.executors.local import LocalExecutor
from orchestrator.search.cost_aware import CostAwareSampler
from orchestrator.search.gaussian import observe
from orchestrator.search.points import Points
from orchestrator.search.seen import VERDICT
from tests.orchestrator.conftest import Drive, make_spec, swept

SPACE: dict[str, BaseDistribution] = {
    "cell_type": CategoricalDistribution(["rnn", "gru"]),
    "truncation_length": IntDistribution(4, 256, log=True),
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "dropout": FloatDistribution(0.0, 0.5, step=0.1),
}
CELL_AND_QUALITY: dict[str, BaseDistribution] = {
    "cell_type": CategoricalDistribution(["rnn", "gru"]),
    "quality": FloatDistribution(0.0, 1.0),
}


def sampler(space: dict[str, BaseDistribution], seconds: dict[int, float], seed: int = 0) -> CostAwareSampler:
    return CostAwareSampler(seed, space, evaluations=3, seconds=seconds)


@given(row=st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_a_setting_is_found_again_where_it_was_put(row: list[float]) -> None:
    points = Points(SPACE)
    setting = points.setting(np.array(row))
    again = points.setting(points.of(setting))
    assert again.pop("learning_rate") == pytest.approx(setting["learning_rate"])
    assert again == {name: value for name, value in setting.items() if name != "learning_rate"}
    assert all(SPACE[name]._contains(SPACE[name].to_internal_repr(value)) for name, value in setting.items())


def test_what_does_not_exist_beside_the_others_lies_halfway() -> None:
    assert Points(SPACE).of({"cell_type": "gru"}).tolist() == [0.0, 1.0, 0.5, 0.5, 0.5]


def chosen(values: dict[str, float], seconds: dict[str, float], direction: str = "minimize") -> list[str]:
    """Return the cells chosen by ten seeds, after trials of both whose values and seconds are those of their cells."""
    sign = -1.0 if direction == "maximize" else 1.0
    study = optuna.create_study(direction=direction)
    took = {}
    for number, (cell, quality) in enumerate((cell, at / 5) for at in range(6) for cell in ("rnn", "gru")):
        value = sign * (values[cell] + (quality - 0.5) ** 2)
        study.add_trial(
            optuna.trial.create_trial(
                params={"cell_type": cell, "quality": quality},
                distributions=CELL_AND_QUALITY,
                value=value,
                intermediate_values={1: value + sign * 0.2, 2: value + sign * 0.1, 3: value},
            )
        )
        took[number] = seconds[cell]
    found = []
    for seed in range(10):
        by = sampler(CELL_AND_QUALITY, took, seed)
        trial = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
        trial.number = 100
        found.append(by.sample_relative(study, trial, CELL_AND_QUALITY)["cell_type"])
    return found


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_of_two_that_promise_as_much_the_cheaper_one_is_tried(direction: str) -> None:
    found = chosen({"rnn": 1.0, "gru": 1.0}, {"rnn": 1.0, "gru": 20.0}, direction)
    assert found.count("rnn") >= 9


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_one_that_promises_more_earns_its_time(direction: str) -> None:
    found = chosen({"rnn": 3.0, "gru": 1.0}, {"rnn": 1.0, "gru": 2.0}, direction)
    assert found.count("gru") >= 9


def test_small_losses_are_told_apart_though_others_are_a_thousand_times_as_large() -> None:
    space: dict[str, BaseDistribution] = {"quality": FloatDistribution(0.0, 1.0)}
    study = optuna.create_study()
    for at in range(12):
        loss = 10.0 ** (40 * (at / 11 - 0.3) ** 2 - 4)  # 1e-4 at the best, 4e15 at the worst
        study.add_trial(
            optuna.trial.create_trial(
                params={"quality": at / 11}, distributions=space, value=loss, intermediate_values={1: loss}
            )
        )
    asked = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
    asked.number = 100
    for seed in range(10):
        by = CostAwareSampler(seed, space, evaluations=1, seconds={})
        assert by.sample_relative(study, asked, space)["quality"] == pytest.approx(0.3, abs=0.03)


def test_what_cannot_be_trained_is_kept_away_from() -> None:
    study = optuna.create_study()
    for at in range(8):
        quality = at / 7
        values = {1: quality + 1.0, 2: quality + 0.5, 3: quality}
        for cell in ("rnn", "gru"):  # gru leads, and diverges behind its second evaluation
            seen = values if cell == "rnn" else {1: quality, 2: quality - 0.5}
            study.add_trial(
                optuna.trial.create_trial(
                    state=optuna.trial.TrialState.COMPLETE if cell == "rnn" else optuna.trial.TrialState.PRUNED,
                    params={"cell_type": cell, "quality": quality},
                    distributions=CELL_AND_QUALITY,
                    value=quality if cell == "rnn" else None,
                    intermediate_values=seen,
                    system_attrs={} if cell == "rnn" else {f"constraints:{VERDICT}": 1.0},
                )
            )
    asked = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
    asked.number = 100
    found = [
        sampler(CELL_AND_QUALITY, {}, seed).sample_relative(study, asked, CELL_AND_QUALITY)["cell_type"]
        for seed in range(10)
    ]
    assert found.count("rnn") >= 9


def test_the_best_settings_are_sought_right_beside_what_cannot_be_trained() -> None:
    space: dict[str, BaseDistribution] = {"learning_rate": FloatDistribution(0.0, 1.0)}
    study = optuna.create_study()
    for at in range(14):
        rate = at / 13  # the higher the better, up to where training diverges
        if is_trained := rate < 0.6:
            loss, attributes = 2.0 - rate, {}
        else:
            loss, attributes = 9.0, {f"constraints:{VERDICT}": 1.0}
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.COMPLETE if is_trained else optuna.trial.TrialState.PRUNED,
                params={"learning_rate": rate},
                distributions=space,
                value=loss if is_trained else None,
                intermediate_values={1: loss} if is_trained else {},
                system_attrs=attributes,
            )
        )
    asked = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
    asked.number = 100
    for seed in range(10):
        by = CostAwareSampler(seed, space, evaluations=1, seconds={})
        assert 0.5 < by.sample_relative(study, asked, space)["learning_rate"] < 0.615


def test_it_learns_where_the_good_ones_are(drive: Drive) -> None:
    space: dict[str, Any] = {"quality": {"float": [0.1, 100.0]}, "hidden_size": {"int": [8, 64], "log": True}}
    search = {"sampler": "cost_aware", "pruner": "curves", "seed": 2}
    spec = make_spec(space=space, search=search, budget={"trials": 16, "evaluations": 3})
    trials = swept(drive(spec, LocalExecutor(1))).trials
    early, late = (sorted(trial.chosen["quality"] for trial in part) for part in (trials[:6], trials[10:]))
    assert late[len(late) // 2] < early[len(early) // 2] / 2


def test_a_process_passes_through_what_it_saw_and_knows_little_elsewhere() -> None:
    tried = np.array([[0.0], [0.1], [0.2], [0.3]])
    values = np.array([-1.0, -0.5, 0.5, 1.0])
    process = observe(tried, values, np.random.default_rng(0))
    assert np.abs(process.mean(tried) - values).max() < 0.3
    near, far = (
        sum(weight * deviation[0] for weight, _, deviation in process.at(np.array([[x]]))) for x in (0.15, 1.0)
    )
    assert near < 0.5 * far
    assert far == pytest.approx(1.0, rel=0.3)


def test_one_that_diverged_among_many_is_believed_at_its_place_alone() -> None:
    feasible = np.random.default_rng(0).random((60, 2)) * [0.8, 1.0]
    infeasible = np.array([[0.97, 0.5]])
    asked = np.array([[0.97, 0.5], [0.3, 0.5]])
    for seed in range(5):
        chances = sampler(CELL_AND_QUALITY, {}, seed)._chance_to_be_trained(feasible, infeasible, asked)
        assert chances[0] < 0.6
        assert chances[1] > 0.95
