"""Zip archives of data: unpacked with suspicion, and known by what is inside.

A host packs an archive of one commit anew at will, so its own bytes prove nothing. What is pinned is a digest of the
files that matter; `sha256sum FILE... | LC_ALL=C sort | sha256sum`, called in their folder, gives the same.
"""

from __future__ import annotations

import hashlib
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from workloads.data.download import FetchError, one_line, place_error

CHUNK = 1 << 20
UNSOUND = (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError, ValueError)
"""What zipfile raises, by the place of the damage; OSError where an offset leads out of the file."""


def unpack(archive: Path, folder: Path, patterns: Sequence[str], *, size: int) -> None:
    """Write the files of a zip archive that match `patterns` into the new folder `folder`.

    The one folder that holds everything in a host's archive is left out of the names. FetchError where a name leads out
    of the archive, a file that matters is a link, or they are not `size` bytes together, announced or unpacked.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = list(chosen(opened, patterns))
            announced = sum(member.file_size for member, _ in members)
            if announced != size:
                raise FetchError(f"the archive holds {len(members):,} files of {announced:,} bytes, not {size:,} bytes")
            left = size
            for member, name in members:
                left -= _write(opened, member, folder / name, limit=left)
    except UNSOUND as error:
        raise unsound(error) from error


def chosen(opened: zipfile.ZipFile, patterns: Sequence[str]) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Yield the members that match, with their names below the archive's one folder; FetchError for evil ones."""
    paths = {member: safe(member.filename) for member in opened.infolist()}
    tops = {path.parts[0] for path in paths.values()}
    inside = len(tops) == 1 and all(len(path.parts) > 1 or member.is_dir() for member, path in paths.items())
    seen = set()
    for member, path in paths.items():
        name = PurePosixPath(*path.parts[inside:])
        if member.is_dir() or not any(matches(name, pattern) for pattern in patterns):
            continue  # never written, so a link there, say, does no harm
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise FetchError(f"the archive's {member.filename!r} is no plain file")
        if name in seen:
            raise FetchError(f"the archive holds {member.filename!r} twice")
        seen.add(name)
        yield member, name


def safe(name: str) -> PurePosixPath:
    """Return the path of an archive's member; FetchError where it may lead out of the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name or ":" in path.parts[0]:
        raise FetchError(f"the archive holds {name!r}, which leads out of it")
    return path


def matches(name: PurePosixPath, pattern: str) -> bool:
    """Tell whether a path matches a pattern, part by part: `*` does not reach beyond a slash."""
    parts = PurePosixPath(pattern).parts
    return len(parts) == len(name.parts) and all(map(fnmatchcase, name.parts, parts))


def _write(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, *, limit: int) -> int:
    written = 0
    with opened.open(member) as source:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                while chunk := _read(source):
                    written += len(chunk)
                    if written > limit:
                        raise FetchError(f"the archive's {member.filename!r} is larger than it says")
                    file.write(chunk)
        except OSError as error:
            raise place_error(error, path) from error
    return written


def _read(source: IO[bytes]) -> bytes:
    try:
        return source.read(CHUNK)
    except UNSOUND as error:
        raise unsound(error) from error


def unsound(error: Exception) -> FetchError:
    """Return what to say of an archive that is damaged."""
    return FetchError(f"the archive cannot be unpacked: {one_line(error) or type(error).__name__}")


def is_sound(path: Path) -> bool:
    """Tell whether a file is a zip file, with nothing in it torn."""
    try:
        with zipfile.ZipFile(path) as opened:
            return opened.testzip() is None
    except UNSOUND:
        return False


def contents_digest(folder: Path, patterns: Sequence[str]) -> tuple[str, int]:
    """Return the SHA-256 over the sorted lines `sha256  path` of the files that match, and how many they are."""
    paths = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    lines = sorted(f"{file_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths)
    return hashlib.sha256("".join(lines).encode()).hexdigest(), len(lines)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
