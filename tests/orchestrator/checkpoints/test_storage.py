"""Checkpoint storage: whole files or none, and only under its own folder."""

from __future__ import annotations

import resource
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.checkpoints.storage import CheckpointStorage, seal, unseal
from orchestrator.errors import UserError
from workloads.protocol import UnusableCheckpoint


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
    assert (folder / "x").is_file()


def test_a_write_that_fails_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = CheckpointStorage(str(folder))
    storage.write("first", b"1")
    folder.joinpath("second").mkdir()
    folder.joinpath("second", "in the way").touch()
    with pytest.raises(OSError, match="second"):
        storage.write("second", b"2")
    assert sorted(path.name for path in folder.iterdir()) == ["first", "second"]


def test_a_write_holds_no_copy_of_the_content(folder: Path) -> None:
    storage, content = CheckpointStorage(str(folder)), bytes(20_000_000)
    tracemalloc.start()
    try:
        uri = storage.write("large", content)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < len(content) / 10
    assert storage.read(uri) == content


contents = st.binary(max_size=300)


@given(content=contents)
def test_what_was_sealed_comes_back(content: bytes) -> None:
    assert unseal(seal(content), "x") == content


@given(content=contents, data=st.data())
def test_a_flipped_bit_anywhere_is_refused(content: bytes, data: st.DataObject) -> None:
    sealed = bytearray(seal(content))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(UnusableCheckpoint, match="x is not a whole checkpoint"):
        unseal(bytes(sealed), "x")


@given(content=contents, data=st.data())
def test_a_file_torn_anywhere_is_refused(content: bytes, data: st.DataObject) -> None:
    sealed = seal(content)
    with pytest.raises(UnusableCheckpoint):
        unseal(sealed[: data.draw(st.integers(0, len(sealed) - 1))], "x")
    with pytest.raises(UnusableCheckpoint):
        unseal(sealed[data.draw(st.integers(1, len(sealed))) :], "x")


@given(content=contents, more=st.binary(min_size=1, max_size=300))
def test_a_file_with_something_behind_it_is_refused(content: bytes, more: bytes) -> None:
    with pytest.raises(UnusableCheckpoint):
        unseal(seal(content) + more, "x")


def test_a_file_altered_on_disk_is_refused_with_its_name(folder: Path) -> None:
    storage = CheckpointStorage(str(folder))
    uri = storage.write("x", b"content")
    path = folder / "x"
    path.write_bytes(path.read_bytes().replace(b"content", b"contend"))
    with pytest.raises(UnusableCheckpoint, match=r"a folder/x is not a whole checkpoint \(55 bytes\)"):
        storage.read(uri)


def test_a_disk_that_is_full_half_way_leaves_nothing_behind(folder: Path) -> None:
    storage = CheckpointStorage(str(folder))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # Python is told by an error, not by a signal
    try:
        with pytest.raises(OSError):
            storage.write("large", b"x" * 100_000)
        assert list(folder.iterdir()) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(storage.read(storage.write("large", b"x" * 100_000))) == 100_000


def test_files_are_listed_with_their_places_and_sizes(folder: Path) -> None:
    storage = CheckpointStorage(str(folder)).within("sweep")
    assert storage.files() == []
    uri = storage.within("trial-00001").write("x", b"content")
    [file] = storage.files()
    assert (file.name, file.size_bytes) == ("trial-00001/x", len(seal(b"content")))
    assert 0 <= file.age_s < 60
    assert storage.name_of(uri) == file.name
    assert storage.uri_of(file.name) == uri
    storage.drop_if_empty("trial-00001")
    assert storage.delete(uri)
    storage.drop_if_empty("trial-00001")
    assert list((folder / "sweep").iterdir()) == []


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
