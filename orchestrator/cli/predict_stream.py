"""`bptt predict --stream`: an answer behind each piece of the input, and a state that outlives the command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.stream_pieces import pieces_of
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from workloads.protocol import Stream


def answer_stream(stream: Stream, source: str, state: Path | None) -> None:
    """Answer `source`, a file or - for standard input, piece by piece, a line of JSON each.

    With `state` the stream goes on from what that file holds, if it is there, and is put away in it; what waits for
    more to come is put away, too. UserError names a piece that is unusable; those before it count.
    """
    running = RunningStream(stream)
    if state is None:
        running.answer_all(pieces_of(source, stream, lasting=False))
        running.finish()
        return
    running.restore(state)
    try:
        running.answer_all(pieces_of(source, stream, lasting=True))
    except UserError:
        running.save(state)
        raise
    running.save(state)


class RunningStream:
    """A stream with the transcript of all that it has heard."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._transcript = stream, ""

    def answer_all(self, pieces: Iterable[Any]) -> None:
        """Answer each piece as it comes; UserError names one that is unusable."""
        for number, piece in enumerate(until_interrupted(pieces), start=1):
            try:
                columns = self._stream.feed(piece)
            except ValueError as error:
                raise UserError(f"INPUT: piece {number}: {error}") from error
            self._show(columns)

    def finish(self) -> None:
        """Answer what waited, if there was anything."""
        columns = self._stream.finish()
        if any(columns.values()):
            self._show(columns)

    def _show(self, columns: Mapping[str, list[Any]]) -> None:
        answer: dict[str, Any] = dict(columns)
        if self._stream.takes == "sound":
            self._transcript += "".join(columns["transcript"])
            answer = {"transcript": self._transcript}
        click.echo(json.dumps(answer, ensure_ascii=False))
        sys.stdout.flush()  # whoever reads it may feed the next piece by it

    def restore(self, file: Path) -> None:
        """Go on from what `save` wrote, if it did; UserError where that is no state, or another model's."""
        from orchestrator.checkpoints.storage import unseal
        from workloads.checkpoint import unpack

        if not file.parent.is_dir():
            raise UserError(f"--state: {file.parent} is no folder")
        try:
            saved = unpack(unseal(file.read_bytes(), file.name))
            if "stream" not in saved:
                raise ValueError("it holds no state of a stream; name another file")
            self._stream.restore(saved["stream"])
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(f"--state: {file} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"--state: {file}: {error}") from error
        self._transcript = saved["transcript"]

    def save(self, file: Path) -> None:
        """Put all that is carried into a file, whole or not at all; UserError where it cannot be written."""
        from orchestrator.checkpoints.storage import seal
        from workloads.checkpoint import pack

        partial = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            partial.write_bytes(seal(pack({"stream": self._stream.save(), "transcript": self._transcript})))
            partial.replace(file)
        except OSError as error:
            raise UserError(f"--state: {file} cannot be written: {error.strerror}") from error


def until_interrupted(pieces: Iterable[Any]) -> Iterator[Any]:
    """Take Ctrl-C while a piece is waited for as the end of the input: some inputs have no other."""
    try:
        yield from pieces
    except KeyboardInterrupt:
        return
