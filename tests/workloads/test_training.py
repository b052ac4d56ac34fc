"""The training loop: the evaluation grid, resuming to the last bit, divergence, schedules."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import workloads
from tests.conftest import FolderStorage, LeavingStorage, prepare_shared, train_moving
from workloads import checkpoint
from workloads.device import subnormals_as_zeros
from workloads.hyperparameters import Hyperparameters
from workloads.protocol import Dataset, Diverged, Left, Progress, Workload
from workloads.training import schedule_factor

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
        {"truncation": "random", "truncation_length": 20},
        {"truncation": "unbiased", "truncation_length": 12, "dropout": 0.3},
        {"truncation": "adaptive", "truncation_length": 40, "k1": 3},
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


@pytest.mark.parametrize(
    "params",
    [
        {"truncation_length": 30, "k1": 7, "cell_type": "gru", "dropout": 0.3, "num_layers": 2},
        {"truncation": "random", "truncation_length": 20, "schedule": "LinearLR"},
        {"truncation": "unbiased", "truncation_length": 12, "max_grad_norm": 0.5},
        {"truncation": "adaptive", "truncation_length": 40, "k1": 3, "max_grad_norm": None},
    ],
    ids=lambda params: "-".join(map(str, params.values())),
)
def test_a_trial_that_moves_in_the_middle_of_an_interval_equals_one_that_stays(
    params: dict[str, Any], language_model: tuple[Workload, Dataset], storage: FolderStorage
) -> None:
    workload, dataset = language_model
    whole = list(workload.train({**SMALL, **params}, dataset, storage))
    for updates in (11, 30):
        moved, left = train_moving(workload, {**SMALL, **params}, dataset, folder=storage.folder, updates=updates)
        assert len(left) == (whole[-1].metrics["updates"] - 1) // updates
        assert [measured(progress) for progress in moved] == [measured(progress) for progress in whole]


def test_a_loss_that_explodes_before_a_move_is_seen_after_it(
    language_model: tuple[Workload, Dataset], storage: FolderStorage
) -> None:
    workload, dataset = language_model
    params = {**SMALL, "cell_type": "rnn_relu", "optimizer": "SGD", "learning_rate": 1000.0, "max_grad_norm": None}
    messages = []
    for updates in (10**6, 3):
        with pytest.raises(Diverged) as caught:
            train_moving(workload, params, dataset, folder=storage.folder, updates=updates)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_machine_that_is_left_before_the_first_update_costs_nothing(
    language_model: tuple[Workload, Dataset], storage: FolderStorage
) -> None:
    workload, dataset = language_model
    first = next(workload.train(SMALL, dataset, storage))
    with pytest.raises(Left) as left:
        next(workload.train(SMALL, dataset, LeavingStorage(storage.folder, 0)))
    again = next(workload.train(SMALL, dataset, storage, left.value.checkpoint))
    assert measured(again) == measured(first)


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
    h = Hyperparameters(schedule=schedule, warmup=0.2)
    rates = [0.5 * schedule_factor(h, part / 100) for part in range(1, 101)]
    assert rates[0] < 0.05
    assert max(rates) == pytest.approx(0.5)
    assert all(later > earlier for earlier, later in pairwise(rates[:20]))
    assert all(later <= earlier for earlier, later in pairwise(rates[19:]))
    assert schedule == "constant" or rates[-1] < 0.02


def test_the_learning_rate_follows_the_sequence_steps_whatever_the_truncation_length(storage: FolderStorage) -> None:
    # In the copy problem most windows ask nothing, and give no update.
    workload = workloads.load("memory", {"lag": 50})
    dataset = workload.prepare()
    for truncation_length, batch_size in ((1, 1), (20, 3), (100, 4)):
        params = {"truncation_length": truncation_length, "batch_size": batch_size, "schedule": "LinearLR"}
        budget = {"hidden_size": 4, "learning_rate": 1e-3, "sequence_steps": 4000, "evaluations": 2}
        half, end = (progress.metrics for progress in workload.train({**params, **budget}, dataset, storage))
        assert half["learning_rate"] == pytest.approx(5.05e-4, rel=0.2)
        assert end["learning_rate"] < 1.2e-4


def test_a_calm_beginning_and_a_storm_later_are_no_divergence(tmp_path: Path, storage: FolderStorage) -> None:
    series = np.concatenate([np.zeros(300), np.random.default_rng(0).normal(size=500).cumsum()])
    path = tmp_path / "series.csv"
    path.write_text("value\n" + "\n".join(map(str, series)))
    workload = workloads.load("forecast", {"series": str(path), "target": "value", "horizon": 1})
    params = {"hidden_size": 4, "batch_size": 1, "truncation_length": 40, "sequence_steps": 2000, "evaluations": 10}
    assert len(list(workload.train(params, workload.prepare(), storage))) == 10


class Stateless(nn.Linear):
    """A user's own cell that carries nothing."""

    def forward(self, inputs: Tensor, state: None = None) -> tuple[Tensor, None]:  # type: ignore[override]
        return super().forward(inputs).tanh(), None


class Counting(nn.RNN):
    """A user's own cell that counts its steps."""

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        hidden, steps = state or (None, torch.zeros(1, dtype=torch.int64))
        outputs, hidden = super().forward(inputs, hidden)
        return outputs, (hidden, steps + len(inputs))


class Named(NamedTuple):
    """A state that a checkpoint could not bring back."""

    h: Tensor


class NamedState(nn.RNN):
    """A user's own cell with a state of a class of its own."""

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        outputs, hidden = super().forward(inputs, None if state is None else state.h)
        return outputs, Named(hidden)


class Careless(nn.RNN):
    """A user's own cell with a state that is no tensor."""

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        outputs, hidden = super().forward(inputs)
        return outputs, {"hidden": hidden}


@pytest.mark.parametrize("name", ["Stateless", "Counting"])
def test_a_cell_of_the_users_own_may_have_any_state_of_tensors(
    name: str, language_model: tuple[Workload, Dataset], storage: FolderStorage
) -> None:
    workload, dataset = language_model
    params = {**SMALL, "cell_type": f"{__name__}:{name}", "truncation_length": 30, "k1": 10}
    whole = list(workload.train(params, dataset, storage))
    rest = list(workload.train(params, dataset, storage, whole[0].checkpoint))
    assert [measured(progress) for progress in rest] == [measured(progress) for progress in whole[1:]]


@pytest.mark.parametrize(("name", "kind"), [("Careless", "dict"), ("NamedState", "Named")])
def test_a_cell_whose_state_is_not_of_tensors_and_tuples_is_refused_by_name(
    name: str, kind: str, language_model: tuple[Workload, Dataset], storage: FolderStorage
) -> None:
    workload, dataset = language_model
    with pytest.raises(ValueError, match=rf"^train\.cell_type: the cell's state is a {kind}"):
        next(workload.train({**SMALL, "cell_type": f"{__name__}:{name}"}, dataset, storage))


def test_looking_at_gradients_does_not_change_training(
    language_model: tuple[Workload, Dataset], storage: FolderStorage
) -> None:
    workload, dataset = language_model
    params = {**SMALL, "dropout": 0.3, "num_layers": 2, "sequence_steps": 8000}
    losses = {
        evaluations: list(workload.train({**params, "evaluations": evaluations}, dataset, storage))[-1].metrics
        for evaluations in (1, 2)
    }
    assert losses[1]["valid_loss"] == losses[2]["valid_loss"]


def test_a_model_trained_in_bfloat16_predicts_in_full_precision(
    language_model: tuple[Workload, Dataset], storage: FolderStorage
) -> None:
    workload, dataset = language_model
    trained = next(workload.train(SMALL, dataset, storage))
    content = checkpoint.unpack(storage.read(trained.checkpoint))
    content["hyperparameters"]["precision"] = "bf16"
    predictor: Any = workload.predictor(checkpoint.pack(content))
    assert predictor.network.in_bfloat16 is False
    assert predictor.predict({"prompt": ["the "]}, {"length": 3})


def test_bfloat16_without_a_gpu_is_refused_by_name(
    language_model: tuple[Workload, Dataset], storage: FolderStorage
) -> None:
    workload, dataset = language_model
    with pytest.raises(ValueError, match=r"^train\.precision: bf16 needs a GPU"):
        next(workload.train({**SMALL, "precision": "bf16", "device": "cpu"}, dataset, storage))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process's peak only ever rises")
def test_a_small_trial_takes_no_more_memory_for_a_large_one_before_it(text_file: Path, storage: FolderStorage) -> None:
    workload, dataset = prepare_shared("language_model", text=str(text_file))
    small = {"hidden_size": 16, "truncation_length": 8, "batch_size": 8, "sequence_steps": 640, "evaluations": 1}
    large = {**small, "hidden_size": 256, "truncation_length": 200, "batch_size": 32, "sequence_steps": 12_800}
    alone, _, behind = (
        [*workload.train(params, dataset, storage)][-1].metrics["peak_memory_mb"] for params in (small, large, small)
    )
    assert behind < 1.1 * alone


class Watching(nn.RNN):
    """A user's own cell that notes whether numbers too small for all their digits are zeros where it is run."""

    seen: ClassVar[set[bool]] = set()

    def forward(self, inputs: Tensor, state: Any = None) -> Any:
        self.seen.add(are_zeros())
        return super().forward(inputs, state)


def are_zeros() -> bool:
    return not np.float32(1e-40) * np.float32(1.0)


def test_subnormal_numbers_are_zeros_in_training_and_nowhere_else(
    language_model: tuple[Workload, Dataset], storage: FolderStorage
) -> None:
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor has no such mode")
    workload, dataset = language_model
    params = {**SMALL, "cell_type": f"{__name__}:Watching", "truncation_length": 30}
    trained = workload.train(params, dataset, storage)
    for _ in trained:
        assert not are_zeros()
    assert Watching.seen == {True}
    with subnormals_as_zeros(), subnormals_as_zeros():
        assert are_zeros()
    assert not are_zeros()
    torch.set_flush_denormal(True)  # as its owner wants it
    try:
        with subnormals_as_zeros():
            pass
        assert are_zeros()
    finally:
        torch.set_flush_denormal(False)
