"""Checkpoint storage on any file system that pyarrow opens: immutable files, whole or absent."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any

from pyarrow import fs

from orchestrator.errors import UserError


class CheckpointStorage:
    """Files under one folder given as a URI (file, s3, gs); options of the URI stand behind a `?`."""

    def __init__(self, folder: str, below: str = "") -> None:
        base, question, options = folder.partition("?") if "://" in folder else (folder, "", "")
        self._base, self._options, self._below = base.rstrip("/"), question + options, below
        # Files are told by their place alone: the keys of an object store do not belong beside every evaluation.
        self._prefix = re.sub(r"://[^/@]*@", "://", self._base) + f"{below}/"
        try:
            self._files, root = fs.FileSystem.from_uri(self._base + self._options)
        except (OSError, ValueError) as error:
            raise UserError(f"checkpoints: {folder!r} cannot be opened: {error}") from error
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
        path = f"{self._root}/{name}"
        if not isinstance(self._files, fs.LocalFileSystem):
            with self._files.open_output_stream(path) as stream:
                stream.write(content)
            return f"{self._prefix}{name}"
        self._files.create_dir(self._root, recursive=True)
        temporary = f"{path}.{os.getpid()}.part"
        try:
            with self._files.open_output_stream(temporary) as stream:
                stream.write(content)
            self._files.move(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                self._files.delete_file(temporary)
            raise
        return f"{self._prefix}{name}"

    def read(self, uri: str) -> bytes:
        """Return the content of a file written here; FileNotFoundError where it is gone."""
        with self._files.open_input_stream(self._path(uri)) as stream:
            content: bytes = stream.read()
        return content

    def is_there(self) -> bool:
        """Tell whether the folder exists; an object store has no folders, and is there."""
        if not isinstance(self._files, fs.LocalFileSystem):
            return True
        return bool(self._files.get_file_info(self._root).type == fs.FileType.Directory)

    def delete(self, uri: str) -> None:
        """Remove a file, if that can be done now: one that stays takes room and does no harm."""
        with contextlib.suppress(OSError):
            self._files.delete_file(self._path(uri))

    def _path(self, uri: str) -> Any:
        name = uri.removeprefix(self._prefix)
        if name == uri and self._below:
            # The folder as a whole was moved, or is mounted elsewhere: what lies below it is the same.
            name = uri.rpartition(f"{self._below}/")[2]
        if name in ("", uri) or ".." in name.split("/"):
            raise ValueError(f"{uri} is not under {self.folder}")
        return f"{self._root}/{name}"
