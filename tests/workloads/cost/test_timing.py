"""Timing a setting by a few of its own updates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import workloads
from tests.conftest import prepare_shared
from workloads.cost.timing import Timing, time_setting
from workloads.training import TrainingRun

PARAMS: dict[str, Any] = {"hidden_size": 8, "batch_size": 4, "truncation_length": 8, "sequence_steps": 4000}


def test_a_trial_is_its_steps_and_its_evaluations() -> None:
    assert Timing(0.5, 3.0, 0.25, looks=6).trial_s(10, 2) == 13.0


@pytest.mark.parametrize("kind", ["language_model", "memory", "forecast"])
def test_every_kind_of_stream_is_timed_and_random_numbers_stay(kind: str) -> None:
    workload, dataset = prepare_shared(kind)
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    timing = time_setting(workload, PARAMS, dataset, within_s=0.01, evaluation_s=0.25)  # type: ignore[arg-type]
    assert timing.step_s > 0
    assert timing.evaluation_s == 0.25
    assert torch.equal(torch.rand(2), wanted)


def test_evaluation_is_timed_where_it_is_not_known(text_file: Path) -> None:
    workload: Any = workloads.load("language_model", {"text": str(text_file)})
    timing = time_setting(workload, PARAMS, workload.prepare(), within_s=0.01)
    assert timing.evaluation_s > 0


def test_what_cannot_be_trained_cannot_be_timed(text_file: Path) -> None:
    workload: Any = workloads.load("language_model", {"text": str(text_file)})
    with pytest.raises(ValueError, match=r"train.batch_size"):
        time_setting(workload, {**PARAMS, "batch_size": 60_000, "sequence_steps": 10**9}, workload.prepare())


def test_horizons_are_not_taken_for_updates(text_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    monkeypatch.setattr(TrainingRun, "measure_horizon", lambda _, look=0: measured.append(look))
    workload: Any = workloads.load("language_model", {"text": str(text_file)})
    params = {**PARAMS, "sequence_steps": 10**6, "evaluations": 3}
    timing = time_setting(workload, params, workload.prepare(), within_s=0.05, evaluation_s=0.0)
    assert measured == [0]
    assert timing.looks == 6
