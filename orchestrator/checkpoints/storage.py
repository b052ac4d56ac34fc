"""Checkpoint storage on any file system that pyarrow opens: immutable files, whole or absent, with a checksum each."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pyarrow import fs

from orchestrator.errors import UserError
from orchestrator.outage import Outage, sit_out
from workloads.protocol import UnusableCheckpoint

Result = TypeVar("Result")

PATIENCE_S = 60.0
"""How long an object store is waited for that answers that it is busy (500, 503) or does not answer at all."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 10.0
"""Between two tries; within each, pyarrow tries on its own for some seconds."""
PASSING = re.compile(
    r"HTTP status (5\d\d|429)|NETWORK_CONNECTION|SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|THROTTLING"
    r"|REQUEST_TIMEOUT"
)
"""How pyarrow's errors name faults of an object store that may pass; refused keys and absent buckets do not."""
MARK, TRAILER = b"bptt-ckp", struct.Struct(">8sQ32s")
"""Behind the content of each file: a mark, the length of the content in bytes, and BLAKE2 over both."""


def seal(content: bytes) -> bytes:
    """Return the content with a trailer by which a torn or altered file is known."""
    return content + trailer(content)


def trailer(content: bytes) -> bytes:
    """Return what stands behind the content in a file."""
    return TRAILER.pack(MARK, len(content), _digest(content))


def unseal(sealed: bytes, name: str) -> bytes:
    """Return what `seal` was given; UnusableCheckpoint where a single bit of it is missing, altered or too much."""
    content = sealed[: -TRAILER.size]
    if len(sealed) < TRAILER.size or sealed[-TRAILER.size :] != trailer(content):
        raise UnusableCheckpoint(
            f"{name} is not a whole checkpoint ({len(sealed)} bytes): it was torn or altered, or is none"
        )
    return content


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=32, person=struct.pack(">Q", len(content))).digest()


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file as the storage lists it."""

    name: str
    """From the storage's folder on: `trial-00001/evaluation-00001-18ebbbf6e6007a80.ckpt`."""
    size_bytes: int
    age_s: float


class CheckpointStorage:
    """Files under one folder given as a URI (file, s3, gs); options of the URI stand behind a `?`."""

    def __init__(self, folder: str, below: str = "") -> None:
        if "://" in folder:
            base, question, options = folder.partition("?")
        else:
            base, question, options = str(Path(folder).expanduser().absolute()), "", ""
        self._base, self._options, self._below = base.rstrip("/"), question + options, below
        # Files are told by their place alone: the keys of an object store do not belong beside every evaluation.
        self._prefix = re.sub(r"://[^/@]*@", "://", self._base) + f"{below}/"
        try:
            self._files, root = fs.FileSystem.from_uri(self._base + self._options)
        except (OSError, ValueError) as error:
            raise UserError(f"checkpoints: {folder!r} cannot be opened: {error}") from error
        self._is_local = isinstance(self._files, fs.LocalFileSystem)
        self._root = root + below

    @property
    def folder(self) -> str:
        """Return the URI by which this storage can be opened again."""
        return self._base + self._below + self._options

    def within(self, name: str) -> CheckpointStorage:
        """Return the storage of a folder below this one."""
        return CheckpointStorage(self._base + self._options, f"{self._below}/{name}")

    def write(self, name: str, content: bytes) -> str:
        """Store `content` under `name` and return its URI: under a temporary name first, then renamed.

        Object stores show nothing before it is whole, and renaming there copies, so there it is written once.
        """
        # In two parts: sealed as a whole, a copy would take as much memory again.
        path, parts = f"{self._root}/{name}", (content, trailer(content))
        if self._is_local:
            self._write_and_rename(path, parts)
        else:
            patiently(lambda: self._write_stream(path, parts))
        return f"{self._prefix}{name}"

    def _write_and_rename(self, path: str, parts: Sequence[bytes]) -> None:
        self._files.create_dir(self._root, recursive=True)
        temporary = f"{path}.{os.getpid()}.part"
        try:
            self._write_stream(temporary, parts)
            self._files.move(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                self._files.delete_file(temporary)
            raise

    def _write_stream(self, path: str, parts: Sequence[bytes]) -> None:
        with self._files.open_output_stream(path) as stream:
            for part in parts:
                stream.write(part)

    def read(self, uri: str) -> bytes:
        """Return the content of a file written here.

        FileNotFoundError where it is gone, UnusableCheckpoint where it is not what was written.
        """
        path = self._path(uri)
        return unseal(self._read(path) if self._is_local else patiently(lambda: self._read(path)), uri)

    def _read(self, path: str) -> bytes:
        with self._files.open_input_stream(path) as stream:
            content: bytes = stream.read()
        return content

    def is_there(self) -> bool:
        """Tell whether the folder exists, or the bucket: an object store has no folders."""
        place = self._root if self._is_local else self._root.partition("/")[0]
        found = patiently(lambda: self._files.get_file_info(place))
        return bool(found.type == fs.FileType.Directory)

    def delete(self, uri: str) -> bool:
        """Remove a file, if that can be done now; return whether it is gone. One that stays does no harm."""
        try:
            self._files.delete_file(self._path(uri))
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def files(self) -> list[StoredFile]:
        """Return every file of the folder and below, by name; none where there is no folder."""
        selector = fs.FileSelector(self._root, recursive=True, allow_not_found=True)
        now = time.time()
        found = [each for each in patiently(lambda: self._files.get_file_info(selector)) if each.is_file]
        return sorted(
            (
                StoredFile(each.path.removeprefix(f"{self._root}/"), each.size or 0, now - (each.mtime_ns or 0) / 1e9)
                for each in found
            ),
            key=lambda file: file.name,
        )

    def name_of(self, uri: str) -> str:
        """Return the name of a file written here, as `files` lists it; ValueError where it is none of this folder."""
        return str(self._path(uri)).removeprefix(f"{self._root}/")

    def uri_of(self, name: str) -> str:
        """Return the URI of a file by the name under which `files` lists it."""
        return f"{self._prefix}{name}"

    def drop_if_empty(self, name: str) -> None:
        """Remove a folder below this one if nothing is in it; an object store has none."""
        if self._is_local:
            with contextlib.suppress(OSError):
                Path(self._root, name).rmdir()

    def _path(self, uri: str) -> Any:
        name = uri.removeprefix(self._prefix)
        if name == uri and self._below:
            # The folder as a whole was moved, or is mounted elsewhere: what lies below it is the same.
            name = uri.rpartition(f"{self._below}/")[2]
        if name in ("", uri) or ".." in name.split("/"):
            raise ValueError(f"{uri} is not under {self.folder}")
        return f"{self._root}/{name}"


def patiently(work: Callable[[], Result]) -> Result:
    """Return what `work` returns, tried anew for about a minute while an object store is busy or away; then OSError."""
    busy = Outage(
        words="the checkpoints' storage is busy or away",
        passes=lambda error: isinstance(error, OSError) and PASSING.search(str(error)) is not None,
        patience_s=PATIENCE_S,
        pauses_s=(FIRST_PAUSE_S, LONGEST_PAUSE_S),
        give_up=lambda waited_s, why: OSError(f"tried for {waited_s:.0f} s: {why}"),
    )
    return sit_out(busy, work)
