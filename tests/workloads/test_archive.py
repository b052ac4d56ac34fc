"""Archives: unpacked as a whole or refused, whatever is in them."""

from __future__ import annotations

import io
import stat
import subprocess
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.data.archive import contents_digest, matches, safe, unpack
from workloads.data.download import FetchError

PATTERNS = ("LICENSE", "recordings/*.wav")
FILES = {"LICENSE": b"free", "recordings/0_a_0.wav": b"0" * 5000, "recordings/1_a_0.wav": b"1"}
SIZE = sum(map(len, FILES.values()))


def packed(
    files: dict[str, bytes], *, below: str = "digits-0123abc/", compression: int = zipfile.ZIP_DEFLATED
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        if below:
            archive.writestr(zipfile.ZipInfo(below), b"")
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(below + name), content, compression)
    return buffer.getvalue()


def unpacked(tmp_path: Path, archive: bytes, size: int = SIZE) -> Path:
    (tmp_path / "it.zip").write_bytes(archive)
    unpack(tmp_path / "it.zip", tmp_path / "out", PATTERNS, size=size)
    return tmp_path / "out"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("below", ["", "digits-0123abc/"])
def test_the_files_that_matter_are_unpacked_and_no_others(tmp_path: Path, below: str) -> None:
    others = {
        "README.md": b"read",
        "etc/recordings/x.wav": b"x",
        "recordings/deep/x.wav": b"x",
        "recordings/x.txt": b"",
    }
    assert contents(unpacked(tmp_path, packed(FILES | others, below=below))) == FILES


@pytest.mark.parametrize(
    "evil", ["../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:\\evil", "C:/evil", ".", "./.."]
)
def test_a_name_that_leads_out_refuses_the_archive(tmp_path: Path, evil: str) -> None:
    with pytest.raises(FetchError, match="leads out of it"):
        unpacked(tmp_path, packed({**FILES, evil: b"x"}, below=""))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR], ids=["link", "pipe", "device"])
def test_a_file_that_is_no_file_refuses_the_archive(tmp_path: Path, kind: int) -> None:
    buffer = io.BytesIO(packed(FILES))
    with zipfile.ZipFile(buffer, "a") as archive:
        member = zipfile.ZipInfo("digits-0123abc/recordings/passwd.wav")
        member.external_attr = (kind | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(FetchError, match="no plain file"):
        unpacked(tmp_path, buffer.getvalue())
    assert not (tmp_path / "out").exists()


def test_a_file_twice_refuses_the_archive(tmp_path: Path) -> None:
    buffer = io.BytesIO(packed(FILES))
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("digits-0123abc/LICENSE", b"evil")
    with pytest.raises(FetchError, match="twice"):
        unpacked(tmp_path, buffer.getvalue())


def test_a_bomb_is_refused_by_what_it_announces(tmp_path: Path) -> None:
    bomb = packed({**FILES, "recordings/bomb.wav": bytes(50_000_000)})
    assert len(bomb) < 100_000
    with pytest.raises(FetchError, match=r"4 files of 50,005,005 bytes, not 5,005 bytes"):
        unpacked(tmp_path, bomb)
    assert not (tmp_path / "out").exists()


def test_a_bomb_that_announces_little_is_not_unpacked_beyond_it(tmp_path: Path) -> None:
    bomb = bytearray(packed({**FILES, "recordings/bomb.wav": bytes(50_000_000)}))
    true, false = (50_000_000).to_bytes(4, "little"), (1).to_bytes(4, "little")
    assert bomb.count(true) >= 1
    with pytest.raises(FetchError, match="cannot be unpacked"):
        unpacked(tmp_path, bytes(bomb.replace(true, false)), size=SIZE + 1)
    assert sum(map(len, contents(tmp_path / "out").values())) <= SIZE + 1


@pytest.mark.parametrize("archive", [b"", b"PK", b"<html>not found</html>", packed(FILES)[:-30]])
def test_what_is_no_zip_file_is_refused(tmp_path: Path, archive: bytes) -> None:
    with pytest.raises(FetchError, match="archive"):
        unpacked(tmp_path, archive)


@given(position=st.integers(0, len(packed(FILES)) - 1), value=st.integers(0, 255))
def test_one_wrong_byte_gives_the_same_files_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    folder, archive = tmp_path_factory.mktemp("torn"), bytearray(packed(FILES))
    archive[position] = value
    try:
        out = unpacked(folder, bytes(archive))
    except FetchError:
        return
    # A name may have become another one, which the digest of the contents finds; nothing lies outside.
    assert sum(map(len, contents(out).values())) == SIZE
    assert {path.name for path in folder.iterdir()} == {"it.zip", "out"}


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_safe_name_stays_in_its_folder(name: str) -> None:
    try:
        path = safe(name)
    except FetchError:
        return
    assert not path.is_absolute()
    assert ".." not in path.parts


def test_a_star_does_not_reach_beyond_a_slash() -> None:
    assert matches(PurePosixPath("wav/a/b/c.wav"), "wav/*/*/*.wav")
    assert not matches(PurePosixPath("wav/a/c.wav"), "wav/*/*/*.wav")
    assert not matches(PurePosixPath("wav/a/b/c/d.wav"), "wav/*/*/*.wav")


def test_the_digest_is_what_sha256sum_gives_and_sees_every_change(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, packed(FILES))
    (folder / "README.md").write_text("is not of the files that matter")
    digest, count = contents_digest(folder, PATTERNS)
    assert count == 3
    shell = "sha256sum LICENSE recordings/*.wav | LC_ALL=C sort | sha256sum"
    told = subprocess.run(["bash", "-c", shell], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert told.split()[0] == digest
    (folder / "recordings" / "1_a_0.wav").rename(folder / "recordings" / "2_a_0.wav")
    renamed, _ = contents_digest(folder, PATTERNS)
    assert renamed != digest
