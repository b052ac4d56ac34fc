"""Trials on compiled kernels: resumed to the last bit, and never on another kernel than they began with."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import FolderStorage, prepare_shared
from workloads import checkpoint
from workloads.models.cells import compiled
from workloads.protocol import Progress

CHANGING = ("sequence_steps_per_second", "peak_memory_mb")
PARAMS: dict[str, Any] = {"hidden_size": 12, "batch_size": 4, "truncation_length": 12, "num_layers": 2, "dropout": 0.2}
PARAMS |= {"learning_rate": 1e-2, "k1": 5, "sequence_steps": 1500, "evaluations": 3}

pytestmark = pytest.mark.skipif(compiled.kernels() is None, reason="there is no C compiler")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def measured(trained: list[Progress]) -> list[dict[str, float]]:
    return [{name: value for name, value in progress.metrics.items() if name not in CHANGING} for progress in trained]


def train(text_file: Path, storage: FolderStorage, resume_from: str | None = None, **params: Any) -> list[Progress]:
    workload, dataset = prepare_shared("language_model", text=str(text_file))
    return list(workload.train({**PARAMS, **params}, dataset, storage, resume_from))


def kernel_of(progress: Progress, storage: FolderStorage) -> str:
    kernel: str = checkpoint.unpack(storage.read(progress.checkpoint))["kernel"]
    return kernel


@pytest.mark.parametrize(
    ("cell_type", "truncation"),
    [("gru", "fixed"), ("lstm", "fixed"), ("rnn", "full"), ("layer_norm_lstm", "fixed"), ("min_gru", "full")],
)
def test_a_resumed_trial_equals_an_uninterrupted_one_to_the_last_bit(
    cell_type: str, truncation: str, text_file: Path, storage: FolderStorage
) -> None:
    params = {"cell_type": cell_type, "truncation": truncation}
    if truncation == "full":
        params |= {"k1": None, "sequence_steps": 18_000, "evaluations": 2}
    whole = train(text_file, storage, **params)
    torch.rand(17)  # whatever else ran in the process in between
    rest = train(text_file, storage, whole[0].checkpoint, **params)
    assert measured(rest) == measured(whole[1:])
    assert {kernel_of(progress, storage) for progress in [*whole, *rest]} == {"compiled"}
    theirs = train(text_file, storage, kernel="torch", **params)
    assert measured(theirs)[-1]["valid_loss"] == pytest.approx(measured(whole)[-1]["valid_loss"], rel=1e-2)


def test_a_trial_keeps_to_the_kernel_that_it_began_with(
    text_file: Path, storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(compiled, "kernels", lambda: None)  # a machine without a compiler
        whole = train(text_file, storage, cell_type="gru")
    rest = train(text_file, storage, whole[0].checkpoint, cell_type="gru")
    assert measured(rest) == measured(whole[1:])
    assert kernel_of(rest[-1], storage) == "torch"


def test_a_machine_without_a_compiler_goes_on_with_torchs_and_says_so(
    text_file: Path, storage: FolderStorage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train(text_file, storage, cell_type="gru")
    monkeypatch.setattr(compiled, "kernels", lambda: None)
    with caplog.at_level(logging.WARNING):
        rest = train(text_file, storage, whole[0].checkpoint, cell_type="gru")
    assert "last digits" in caplog.text
    assert rest[-1].metrics["valid_loss"] == pytest.approx(whole[-1].metrics["valid_loss"], rel=1e-2)
    assert kernel_of(rest[-1], storage) == "torch"


def test_networks_without_such_layers_and_predictions_compile_nothing(
    text_file: Path, storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = train(text_file, storage, cell_type="gru")

    def refuse() -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr(compiled, "kernels", refuse)
    train(text_file, storage, cell_type="slstm")
    workload, _ = prepare_shared("language_model", text=str(text_file))
    assert workload.predictor(storage.read(trained[-1].checkpoint)).predict({"prompt": ["the "]}, {"length": 3})
