"""Fetching a data set: all of it in its place, or nothing."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web import Site, half_then_silence, plain, serving, whole
from tests.workloads.test_archive import FILES, PATTERNS, SIZE, packed
from workloads.data.archive import contents_digest
from workloads.data.catalogue import ENTRIES, Download, Entry
from workloads.data.download import Downloader, FetchError, PlaceError
from workloads.data.fetch import Fetch, alone, examine

CONTENT = b"date,OT\n" * 20_000
PATIENCE = Downloader(timeout_s=0.5, tries=2, wait_s=0.01)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        site.answers = [whole(CONTENT)]
        yield site


def table(site: Site, *, newer: bool = False) -> Entry:
    pin = Download(site.url, len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), newer=site.url if newer else None)
    return Entry(
        "table", "forecast", "a table", "CC0", file="table/table.zip" if newer else "table/t.csv", download=pin
    )


def digits(site: Site, folder: Path) -> Entry:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    digest, count = contents_digest(folder, PATTERNS)
    pin = Download(site.url, SIZE, digest, members=PATTERNS, count=count)
    return Entry("digits", "speech", "digits", "CC0", folder="digits", download=pin)


def left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_file_is_fetched_once_and_then_only_verified(site: Site, tmp_path: Path) -> None:
    entry = table(site)
    assert Fetch(entry, tmp_path, PATIENCE).run()
    assert not Fetch(entry, tmp_path, PATIENCE).run()
    assert len(site.ranges) == 1
    assert left(tmp_path) == {"table/t.csv"}
    assert (tmp_path / "table" / "t.csv").read_bytes() == CONTENT
    assert Fetch(entry, tmp_path, PATIENCE).run(force=True)
    assert len(site.ranges) == 2


def test_wrong_bytes_are_removed_and_both_digests_named(site: Site, tmp_path: Path) -> None:
    wrong = b"DATE,ot\n" * 20_000
    site.answers = [whole(wrong)]
    with pytest.raises(FetchError) as caught:
        Fetch(table(site), tmp_path, PATIENCE).run()
    assert hashlib.sha256(wrong).hexdigest() in str(caught.value)
    assert hashlib.sha256(CONTENT).hexdigest() in str(caught.value)
    assert left(tmp_path) == set()


def test_another_file_in_the_place_is_refused_and_with_force_replaced(site: Site, tmp_path: Path) -> None:
    entry, place = table(site), tmp_path / "table" / "t.csv"
    place.parent.mkdir()
    place.write_text("mine")
    with pytest.raises(PlaceError, match=r"t.csv is not table as pinned \(expected 160,000 bytes.*--force"):
        Fetch(entry, tmp_path, PATIENCE).run()
    assert place.read_text() == "mine"
    assert site.ranges == []
    assert Fetch(entry, tmp_path, PATIENCE).run(force=True)
    assert place.read_bytes() == CONTENT


def test_a_failed_fetch_with_force_leaves_what_was_there(site: Site, tmp_path: Path) -> None:
    entry = table(site)
    Fetch(entry, tmp_path, PATIENCE).run()
    site.answers = [plain(b"short", Content_Length=5)]
    with pytest.raises(FetchError, match="announces 5 bytes"):
        Fetch(entry, tmp_path, PATIENCE).run(force=True)
    assert (tmp_path / "table" / "t.csv").read_bytes() == CONTENT


def test_a_failure_says_how_to_do_it_by_hand(site: Site, tmp_path: Path) -> None:
    site.answers = [plain(b"", Content_Length=0)]
    place = tmp_path / "table" / "t.csv"
    with pytest.raises(FetchError, match=f"table was not fetched: .*by hand: put {site.url} at {place}"):
        Fetch(table(site), tmp_path, PATIENCE).run()


def test_the_publishers_newer_version_is_taken_only_when_asked_for(site: Site, tmp_path: Path) -> None:
    newer = packed({"fra.txt": b"Go.\tVa !\n"})
    site.answers = [whole(newer)]
    entry = table(site, newer=True)
    with pytest.raises(FetchError, match="announces"):
        Fetch(entry, tmp_path, PATIENCE).run()
    assert Fetch(entry, tmp_path, PATIENCE, any_version=True).run()
    assert (tmp_path / "table" / "table.zip").read_bytes() == newer
    assert not Fetch(entry, tmp_path, PATIENCE, any_version=True).run()
    found = examine(entry, tmp_path)
    assert found is not None
    assert not found.pinned
    with pytest.raises(PlaceError, match="--any-version leaves it"):
        Fetch(entry, tmp_path, PATIENCE).run()


def test_wrong_bytes_point_to_the_newer_version(site: Site, tmp_path: Path) -> None:
    site.answers = [whole(CONTENT[::-1])]
    with pytest.raises(FetchError, match=f"--any-version takes what {site.url} serves now"):
        Fetch(table(site, newer=True), tmp_path, PATIENCE).run()


@pytest.mark.parametrize("torn", [b"<html>", packed({"fra.txt": b"Go." * 99})[:-9]])
def test_a_newer_version_must_be_sound(site: Site, tmp_path: Path, torn: bytes) -> None:
    site.answers = [whole(torn)]
    with pytest.raises(FetchError, match="no sound zip file"):
        Fetch(table(site, newer=True), tmp_path, PATIENCE, any_version=True).run()
    assert left(tmp_path) == set()


def test_a_data_set_of_one_version_has_no_other(site: Site, tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="one version only"):
        Fetch(table(site), tmp_path, PATIENCE, any_version=True).run()


def test_an_archive_becomes_a_folder_without_anything_beside_it(site: Site, tmp_path: Path) -> None:
    entry, root = digits(site, tmp_path / "model"), tmp_path / "root"
    site.answers = [plain(packed({**FILES, "README.md": b"other"}))]  # of unknown length, as hosts send them
    assert Fetch(entry, root, PATIENCE).run()
    assert left(root) == {f"digits/{name}" for name in FILES}
    assert [path.name for path in root.iterdir()] == ["digits"]
    assert not Fetch(entry, root, PATIENCE).run()


@pytest.mark.parametrize("archive", [packed({**FILES, "LICENSE": b"evil"}), packed({"../x": b""}, below=""), b"no zip"])
def test_an_evil_archive_leaves_nothing(site: Site, tmp_path: Path, archive: bytes) -> None:
    entry, root = digits(site, tmp_path / "model"), tmp_path / "root"
    site.answers = [plain(archive)]
    with pytest.raises(FetchError):
        Fetch(entry, root, PATIENCE).run()
    assert list(root.iterdir()) == []


def test_a_folder_that_lacks_a_file_is_replaced_as_a_whole(site: Site, tmp_path: Path) -> None:
    entry, root = digits(site, tmp_path / "model"), tmp_path / "root"
    site.answers = [plain(packed(FILES))]
    Fetch(entry, root, PATIENCE).run()
    (root / "digits" / "recordings" / "1_a_0.wav").unlink()
    with pytest.raises(PlaceError, match=r"expected 3 files, .*got 2 files"):
        Fetch(entry, root, PATIENCE).run()
    assert Fetch(entry, root, PATIENCE).run(force=True)
    assert [path.name for path in root.iterdir()] == ["digits"]
    assert left(root) == {f"digits/{name}" for name in FILES}


def test_what_a_killed_fetch_unpacked_is_swept_away(site: Site, tmp_path: Path) -> None:
    entry, root = digits(site, tmp_path / "model"), tmp_path / "root"
    (root / ".digits.unpacked" / "recordings").mkdir(parents=True)
    (root / ".digits.unpacked" / "recordings" / "9_a_0.wav").touch()
    site.answers = [plain(packed(FILES))]
    assert Fetch(entry, root, PATIENCE).run()
    assert [path.name for path in root.iterdir()] == ["digits"]


def test_two_at_once_download_once(site: Site, tmp_path: Path) -> None:
    entry, waited, outcomes = table(site), threading.Event(), []

    def second() -> None:
        outcomes.append(Fetch(entry, tmp_path, PATIENCE, waiting=waited.set).run())

    def first(done: int, total: int | None) -> None:
        if done == 0:
            other.start()
            assert waited.wait(10), "the second did not notice the first"

    other = threading.Thread(target=second)
    outcomes.append(Fetch(entry, tmp_path, Downloader(told=first)).run())
    other.join(10)
    assert sorted(outcomes) == [False, True]
    assert len(site.ranges) == 1
    assert left(tmp_path) == {"table/t.csv"}


def test_a_lock_that_a_killed_process_left_holds_nobody_up(site: Site, tmp_path: Path) -> None:
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / ".t.csv.lock").touch()
    assert Fetch(table(site), tmp_path, PATIENCE).run()


def test_whoever_waits_for_a_lock_that_is_removed_does_not_hold_it(tmp_path: Path) -> None:
    lock, entered = tmp_path / "lock", []
    waits = threading.Event()

    def enter() -> None:
        # The file of that name is then the one that is held.
        with alone(lock, waits.set), lock.open("w") as again:
            with pytest.raises(BlockingIOError):
                fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
            entered.append(True)

    with alone(lock, lambda: None):
        thread = threading.Thread(target=enter)
        thread.start()
        assert waits.wait(10)
    thread.join(10)
    assert entered == [True]
    assert not lock.exists()


INTERRUPTED = """
import sys
from pathlib import Path
from workloads.data.catalogue import Download, Entry
from workloads.data.download import Downloader
from workloads.data.fetch import Fetch

url, size, sha256, root = sys.argv[1:]
entry = Entry("table", "forecast", "", "", file="table/t.csv", download=Download(url, int(size), sha256))
Fetch(entry, Path(root), Downloader(told=lambda done, total: print(done, flush=True), timeout_s=20)).run()
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_fetch_after_one_that_was_stopped_goes_on_from_there(site: Site, tmp_path: Path, how: int) -> None:
    site.answers = [half_then_silence(CONTENT), whole(CONTENT)]
    entry = table(site)
    assert entry.download is not None
    arguments = [site.url, str(len(CONTENT)), entry.download.sha256, str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == len(CONTENT) // 2:
            break
    process.send_signal(how)
    process.wait(10)
    process.stdout.close()
    arrived = (tmp_path / "table" / "t.csv.part").stat().st_size
    assert Fetch(entry, tmp_path, PATIENCE).run()
    assert (tmp_path / "table" / "t.csv").read_bytes() == CONTENT
    assert site.ranges == [None, f"bytes={arrived}-" if arrived else None]
    assert arrived > 0


def test_data_in_a_folder_that_cannot_be_written_are_verified_all_the_same(site: Site, tmp_path: Path) -> None:
    entry = table(site)
    Fetch(entry, tmp_path, PATIENCE).run()
    (tmp_path / "table").chmod(0o500)
    try:
        assert not Fetch(entry, tmp_path, PATIENCE).run()
        assert left(tmp_path) == {"table/t.csv"}
    finally:
        (tmp_path / "table").chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_somebody_elses_is_the_users_to_mend(site: Site, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PlaceError, match="Permission denied; set BPTT_DATA"):
        Fetch(table(site), tmp_path, PATIENCE).run()


def test_a_root_that_is_a_file_is_the_users_to_mend(site: Site, tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    with pytest.raises(PlaceError, match=r"cannot be written: .*; set BPTT_DATA"):
        Fetch(table(site), tmp_path / "root", PATIENCE).run()


def test_what_lies_in_the_way_is_not_touched(site: Site, tmp_path: Path) -> None:
    (tmp_path / "table" / "t.csv").mkdir(parents=True)
    (tmp_path / "digits").write_text("mine")
    for force in (False, True):
        with pytest.raises(PlaceError, match=r"t\.csv is in the way: it is a folder"):
            Fetch(table(site), tmp_path, PATIENCE).run(force=force)
        with pytest.raises(PlaceError, match="digits is in the way: it is no folder"):
            Fetch(digits(site, tmp_path / "model"), tmp_path, PATIENCE).run(force=force)
    assert (tmp_path / "digits").read_text() == "mine"
    assert site.ranges == []


LIMITED = """
import resource, sys
from pathlib import Path
from workloads.data.catalogue import Download, Entry
from workloads.data.download import FetchError
from workloads.data.fetch import Fetch

url, size, sha256, root, *members = sys.argv[1:]
download = Download(url, int(size), sha256, members=tuple(members))
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    Fetch(Entry("digits", "speech", "", "", folder="digits", download=download), Path(root)).run()
except FetchError as error:
    print(type(error).__name__, error)
"""


def test_an_archive_that_there_was_no_room_to_unpack_is_not_downloaded_again(site: Site, tmp_path: Path) -> None:
    # A file of 5,000 equal bytes, packed into fewer, and a process whose files may not grow beyond 4,000.
    entry, root = digits(site, tmp_path / "model"), tmp_path / "root"
    site.answers = [plain(packed(FILES))]
    assert entry.download is not None
    arguments = [site.url, str(SIZE), entry.download.sha256, str(root), *PATTERNS]
    done = subprocess.run([sys.executable, "-c", LIMITED, *arguments], capture_output=True, text=True, check=True)
    assert "File too large; make room" in done.stdout
    assert not (root / "digits").exists()
    assert Fetch(entry, root, PATIENCE).run()
    assert [path.name for path in root.iterdir()] == ["digits"]
    assert len(site.ranges) == 1


def test_what_comes_with_a_package_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="sp500 comes with arch; there is nothing to fetch"):
        Fetch(ENTRIES["sp500"], tmp_path).run()
