"""Cells beyond torch's in training: resumed to the last bit, learning, and at home in every workload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import workloads
from tests.conftest import FolderStorage, prepare_shared
from tests.workloads.waves import waves
from workloads.protocol import Progress

OWN = ("layer_norm_lstm", "ind_rnn", "min_gru", "min_lstm", "slstm", "lru")
SMALL: dict[str, Any] = {"hidden_size": 12, "batch_size": 4, "learning_rate": 1e-2, "truncation_length": 12}
CHANGING = ("sequence_steps_per_second", "peak_memory_mb")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def measured(progress: Progress) -> dict[str, float]:
    return {name: value for name, value in progress.metrics.items() if name not in CHANGING}


@pytest.mark.parametrize("cell_type", OWN)
def test_a_resumed_trial_equals_an_uninterrupted_one_to_the_last_bit(
    cell_type: str, text_file: Path, storage: FolderStorage
) -> None:
    workload, dataset = prepare_shared("language_model", text=str(text_file))
    params = {**SMALL, "cell_type": cell_type, "num_layers": 2, "dropout": 0.2, "k1": 5}
    params |= {"sequence_steps": 1500, "evaluations": 3}
    whole = list(workload.train(params, dataset, storage))
    torch.rand(17)  # whatever else ran in the process in between
    rest = list(workload.train(params, dataset, storage, whole[0].checkpoint))
    assert [measured(progress) for progress in rest] == [measured(progress) for progress in whole[1:]]
    assert whole[0].metrics["horizon_decay"] > 0
    predictor = workload.predictor(storage.read(whole[-1].checkpoint))
    assert predictor.predict({"prompt": ["the "]}, {"length": 3})


@pytest.mark.parametrize("cell_type", OWN)
def test_a_symbol_is_recalled_after_a_lag(cell_type: str, storage: FolderStorage) -> None:
    workload, dataset = prepare_shared("memory", lag=10, symbols=4)
    params = {**SMALL, "cell_type": cell_type, "hidden_size": 24, "batch_size": 32, "truncation_length": 20}
    (last,) = workload.train({**params, "sequence_steps": 120_000, "evaluations": 1}, dataset, storage)
    assert last.metrics["valid_accuracy"] > 0.5


@pytest.mark.parametrize("cell_type", OWN)
def test_series_are_forecast(cell_type: str, tmp_path: Path, storage: FolderStorage) -> None:
    waves().to_csv(tmp_path / "waves.csv", index=False)
    workload, dataset = prepare_shared("forecast", series=str(tmp_path / "waves.csv"), target="tide", horizon=2)
    params = {**SMALL, "cell_type": cell_type, "layer_norm": True, "sequence_steps": 2000, "evaluations": 1}
    (last,) = workload.train(params, dataset, storage)
    assert last.metrics["valid_mse"] > 0


@pytest.mark.parametrize("cell_type", OWN)
def test_sentences_are_read_in_both_directions_and_written_by_beam(
    cell_type: str, tmp_path: Path, storage: FolderStorage
) -> None:
    for package in ("sentencepiece", "sacrebleu"):
        pytest.importorskip(package, reason="the extra `translation` is not installed")
    digits = [f"{number:03d}" for number in range(0, 1000, 7)]
    (tmp_path / "digits.tsv").write_text("".join(f"{' '.join(each)}\t{' '.join(each[::-1])}\n" for each in digits))
    options = {"unit": "word", "beam_width": 3, "valid_part": 0.05, "test_part": 0.05}
    workload = workloads.load("translation", {**options, "corpus": str(tmp_path / "digits.tsv")})
    params = {**SMALL, "cell_type": cell_type, "bidirectional": True, "truncation_length": 2}
    params |= {"sequence_steps": 500, "evaluations": 1}
    (last,) = workload.train(params, workload.prepare(), storage)
    assert last.metrics["valid_loss"] > 0
    assert last.metrics["horizon_decay"] > 0
