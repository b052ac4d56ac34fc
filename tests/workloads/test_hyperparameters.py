"""Hyperparameters that depend on each other: k1 and the truncation length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import FolderStorage, prepare_shared
from workloads.hyperparameters import Hyperparameters, read_hyperparameters, truncation_length_of

SMALL = {"sequence_steps": 3000, "evaluations": 1, "hidden_size": 4, "batch_size": 2}


@given(length=st.integers(1, 10**12), fraction=st.floats(0, 1, exclude_min=True))
def test_a_fraction_is_never_more_than_the_truncation_length_nor_less_than_a_step(length: int, fraction: float) -> None:
    taken = Hyperparameters(truncation_length=length, k1_fraction=fraction).steps_between_updates
    assert 1 <= taken <= length


@pytest.mark.parametrize(
    ("params", "steps"),
    [
        ({}, 64),
        ({"k1": 8}, 8),
        ({"k1_fraction": 0.25}, 16),
        ({"k1_fraction": 1.0}, 64),
        ({"k1_fraction": 1e-9}, 1),
        ({"k1": 8, "truncation_length": 8}, 8),
    ],
)
def test_updates_are_as_far_apart_as_was_said(params: dict[str, float], steps: int) -> None:
    assert read_hyperparameters(params).steps_between_updates == steps


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"k1": 100}, "train.k1: 100 steps between updates exceed truncation_length (64)"),
        ({"k1": 8, "k1_fraction": 0.5}, "train.k1_fraction: 0.5, but k1 is given too (8); give one of them"),
        ({"k1_fraction": 0.0}, "train.k1_fraction: 0.0; it must be"),
        ({"k1_fraction": 1.5}, "train.k1_fraction: 1.5; it must be"),
    ],
)
def test_what_cannot_be_is_refused(params: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_hyperparameters(params)
    assert str(caught.value).startswith(message)


def test_a_fraction_trains_as_the_k1_that_it_comes_to(storage: FolderStorage) -> None:
    workload, dataset = prepare_shared("memory", lag=5)
    losses = [
        [progress.metrics["valid_loss"] for progress in workload.train({**SMALL, **params}, dataset, storage)]
        for params in (
            {"truncation_length": 12, "k1": 3},
            {"truncation_length": 12, "k1_fraction": 0.25},
            {"truncation_length": 12},
        )
    ]
    assert losses[0] == losses[1] != losses[2]


def test_a_trial_whose_gradients_are_never_cut_has_no_truncation_length() -> None:
    assert truncation_length_of({"truncation": "full", "truncation_length": 8}) is None
    assert truncation_length_of({"truncation": "adaptive", "truncation_length": 8}) == 8
    assert truncation_length_of({}) == Hyperparameters().truncation_length
