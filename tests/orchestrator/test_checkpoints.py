"""Checkpoint storage: whole files or none, and only under its own folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.checkpoints import CheckpointStorage
from orchestrator.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a folder"


def test_what_is_written_is_read_and_deleted(folder: Path) -> None:
    storage = CheckpointStorage(str(folder)).within("trial-00001")
    uri = storage.write("evaluation-1.ckpt", b"content")
    assert storage.read(uri) == b"content"
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["evaluation-1.ckpt"]
    storage.delete(uri)
    storage.delete(uri)
    with pytest.raises(FileNotFoundError):
        storage.read(uri)


def test_uris_made_by_pathlib_are_understood(folder: Path) -> None:
    storage = CheckpointStorage(folder.as_uri())
    assert storage.read(storage.write("x", b"1")) == b"1"
    assert (folder / "x").read_bytes() == b"1"


def test_a_write_that_fails_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = CheckpointStorage(str(folder))
    storage.write("first", b"1")
    folder.joinpath("second").mkdir()
    folder.joinpath("second", "in the way").touch()
    with pytest.raises(OSError, match="second"):
        storage.write("second", b"2")
    assert sorted(path.name for path in folder.iterdir()) == ["first", "second"]


def test_nothing_outside_its_folder_is_touched(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    storage = CheckpointStorage(str(folder))
    for uri in (str(outside), f"file://{outside}", str(folder) + "-beside/x", f"{folder}/../outside"):
        with pytest.raises(ValueError, match="is not under"):
            storage.delete(uri)
    assert outside.read_text() == "mine"


def test_what_was_written_is_found_where_the_folder_was_moved(tmp_path: Path) -> None:
    uri = CheckpointStorage(str(tmp_path / "old")).within("sweep").within("trial-00001").write("x", b"1")
    (tmp_path / "old").rename(tmp_path / "new")
    moved = CheckpointStorage(str(tmp_path / "new")).within("sweep")
    assert moved.read(uri) == b"1"
    assert CheckpointStorage(moved.folder).within("trial-00001").read(uri) == b"1"
    with pytest.raises(ValueError, match="is not under"):
        moved.read(uri.replace("trial-00001/x", "../x"))


def test_options_of_a_uri_stay_options_of_the_folders_below() -> None:
    storage = CheckpointStorage("s3://bucket/checkpoints?region=eu-west-1&endpoint_override=minio:9000").within("sweep")
    assert storage.folder == "s3://bucket/checkpoints/sweep?region=eu-west-1&endpoint_override=minio:9000"
    assert storage._root == "bucket/checkpoints/sweep"


def test_a_folder_that_is_no_uri_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="checkpoints: 'nonsense://x' cannot be opened"):
        CheckpointStorage("nonsense://x")
