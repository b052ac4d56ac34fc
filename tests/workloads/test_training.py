"""The training loop: the evaluation grid, resuming to the last bit, divergence, schedules."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import workloads
from tests.conftest import FolderStorage
from workloads.hyperparameters import Hyperparameters
from workloads.protocol import Dataset, Diverged, Progress, Workload
from workloads.training import make_optimizer, make_schedule

SMALL: dict[str, Any] = {"hidden_size": 12, "batch_size": 4, "sequence_steps": 8000, "evaluations": 4}
CHANGING = ("sequence_steps_per_second", "peak_memory_mb")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def language_model(text_file: Path) -> tuple[Workload, Dataset]:
    workload = workloads.load("language_model", {"text": str(text_file)})
    return workload, workload.prepare()


def measured(progress: Progress) -> dict[str, float]:
    return {name: value for name, value in progress.metrics.items() if name not in CHANGING}


def test_evaluations_lie_on_the_common_grid_whatever_the_truncation_length(
    language_model: tuple[Workload, Dataset], storage: FolderStorage
) -> None:
    workload, dataset = language_model
    for truncation_length, k1 in ((7, None), (64, None), (500, None), (32, 8)):
        params = {**SMALL, "truncation_length": truncation_length, "k1": k1}
        steps = [progress.sequence_steps for progress in workload.train(params, dataset, storage)]
        update = (k1 or truncation_length) * SMALL["batch_size"]
        assert [
            point <= reached < point + update for point, reached in zip((2000, 4000, 6000, 8000), steps, strict=True)
        ]
        assert all(later > earlier for earlier, later in pairwise(steps))


@pytest.mark.parametrize(
    "params",
    [
        {"truncation_length": 16},
        {"truncation_length": 30, "k1": 7, "cell_type": "gru"},
        {"cell_type": "rnn", "num_layers": 2, "dropout": 0.3, "layer_norm": True, "optimizer": "SGD", "momentum": 0.9},
        {"cell_type": "rnn_relu", "schedule": "CosineAnnealingLR", "warmup": 0.1, "optimizer": "AdamW"},
    ],
    ids=lambda params: "-".join(map(str, params.values())),
)
def test_a_resumed_trial_equals_an_uninterrupted_one_to_the_last_bit(
    params: dict[str, Any], language_model: tuple[Workload, Dataset], storage: FolderStorage
) -> None:
    workload, dataset = language_model
    whole = list(workload.train({**SMALL, **params}, dataset, storage))
    for stopped_after in range(3):
        torch.rand(17)  # whatever else ran in the process in between
        rest = list(workload.train({**SMALL, **params}, dataset, storage, whole[stopped_after].checkpoint))
        assert [measured(progress) for progress in rest] == [
            measured(progress) for progress in whole[stopped_after + 1 :]
        ]


def test_trials_that_take_turns_in_one_process_do_not_disturb_each_other(
    language_model: tuple[Workload, Dataset], storage: FolderStorage
) -> None:
    workload, dataset = language_model
    settings = [{**SMALL, "dropout": 0.3, "num_layers": 2, "seed": seed} for seed in (1, 2)]
    alone = [[measured(progress) for progress in workload.train(params, dataset, storage)] for params in settings]
    in_turn: list[list[dict[str, float]]] = [[], []]
    running = [workload.train(params, dataset, storage) for params in settings]
    for _ in range(SMALL["evaluations"]):
        for trial, found in zip(running, in_turn, strict=True):
            found.append(measured(next(trial)))
    assert in_turn == alone


def test_another_seed_gives_other_losses(language_model: tuple[Workload, Dataset], storage: FolderStorage) -> None:
    workload, dataset = language_model
    first, second = (next(workload.train({**SMALL, "seed": seed}, dataset, storage)) for seed in (1, 2))
    assert first.metrics["valid_loss"] != second.metrics["valid_loss"]


def test_the_validation_loss_of_equal_weights_does_not_depend_on_the_training_window(
    language_model: tuple[Workload, Dataset], storage: FolderStorage
) -> None:
    workload, dataset = language_model
    still = {**SMALL, "learning_rate": 1e-30}
    losses = {
        next(workload.train({**still, "truncation_length": length}, dataset, storage)).metrics["valid_loss"]
        for length in (4, 64, 200)
    }
    assert len(losses) == 1


def test_an_exploding_loss_is_divergence_and_says_when(
    language_model: tuple[Workload, Dataset], storage: FolderStorage
) -> None:
    workload, dataset = language_model
    params = {**SMALL, "cell_type": "rnn_relu", "optimizer": "SGD", "learning_rate": 1000.0, "max_grad_norm": None}
    with pytest.raises(Diverged, match=r"within \d+ sequence steps"):
        list(workload.train(params, dataset, storage))


def test_a_torn_checkpoint_is_refused(language_model: tuple[Workload, Dataset], storage: FolderStorage) -> None:
    workload, dataset = language_model
    progress = next(workload.train(SMALL, dataset, storage))
    path = Path(progress.checkpoint)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        next(workload.train(SMALL, dataset, storage, progress.checkpoint))


@pytest.mark.parametrize("schedule", ["constant", "LinearLR", "CosineAnnealingLR", "ExponentialLR", "StepLR"])
def test_a_schedule_warms_up_and_then_never_rises(schedule: str) -> None:
    h = Hyperparameters(schedule=schedule, warmup=0.2, learning_rate=0.5, optimizer="SGD")
    optimizer = make_optimizer(nn.Linear(2, 2), h)
    scheduler = make_schedule(optimizer, h, updates=100)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] < 0.05
    assert max(rates) == pytest.approx(0.5)
    assert all(later > earlier for earlier, later in pairwise(rates[:20]))
    assert all(later <= earlier for earlier, later in pairwise(rates[20:]))
    assert schedule == "constant" or rates[-1] < 0.02


def test_bfloat16_without_a_gpu_is_refused_by_name(
    language_model: tuple[Workload, Dataset], storage: FolderStorage
) -> None:
    workload, dataset = language_model
    with pytest.raises(ValueError, match=r"^train\.precision: bf16 needs a GPU"):
        next(workload.train({**SMALL, "precision": "bf16", "device": "cpu"}, dataset, storage))
