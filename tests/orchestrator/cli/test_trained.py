"""The folder of `bptt train`: what it keeps, and that it can be moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.trained import TrainedFolder
from orchestrator.errors import UserError
from tests.fakes import KIND, Scripted
from workloads.protocol import Progress


@pytest.fixture
def folder(tmp_path: Path) -> TrainedFolder:
    dataset = Scripted().prepare()
    return TrainedFolder.create(tmp_path / "a run", KIND, options={}, hyperparameters={}, dataset=dataset)


def record(folder: TrainedFolder, losses: list[float]) -> list[Progress]:
    evaluations: list[Progress] = []
    for number, loss in enumerate(losses):
        uri = folder.storage.write(f"{number}.ckpt", str(number).encode())
        evaluations.append(Progress(number, 10 * number, {"valid_loss": loss}, uri, 0.0))
        folder.record(evaluations)
    return evaluations


def test_only_the_best_and_the_last_checkpoint_are_kept(folder: TrainedFolder) -> None:
    record(folder, [0.5, 0.3, 0.6, 0.4])
    assert sorted(path.name for path in folder.path.glob("*.ckpt")) == ["1.ckpt", "3.ckpt"]


def test_a_folder_read_again_holds_what_was_written(folder: TrainedFolder) -> None:
    evaluations = record(folder, [0.5, 0.3])
    again = TrainedFolder.open(folder.path)
    assert again == folder
    assert again.evaluations() == evaluations


def test_a_moved_folder_predicts_with_its_best_checkpoint(folder: TrainedFolder, tmp_path: Path) -> None:
    record(folder, [0.5, 0.3, 0.4])
    moved = TrainedFolder.open(folder.path.rename(tmp_path / "elsewhere"))
    assert moved.predictor().predict({"x": [5]}, {}) == {"y": [5]}
    assert moved.storage.read(moved.uri(moved.evaluations()[-1])) == b"2"


def test_a_folder_without_a_run_or_an_evaluation_says_so(folder: TrainedFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint yet"):
        folder.predictor()
    with pytest.raises(UserError, match=r"no model\.json"):
        TrainedFolder.open(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        TrainedFolder.open(tmp_path)


def test_two_processes_do_not_train_in_one_folder(folder: TrainedFolder) -> None:
    again = TrainedFolder.open(folder.path)
    with folder.held(), pytest.raises(UserError, match="another process trains"), again.held():
        raise AssertionError("held twice")
    with again.held():
        assert again.begin() == []
