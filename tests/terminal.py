"""A command in a terminal: a pseudo-terminal, and behind it an emulator that knows what would be on the screen."""

from __future__ import annotations

import copy
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyte

ALTERNATE = 1049
"""The mode in which a screen of its own is drawn on, and the one before comes back at its end."""
PROJECT = Path(__file__).parents[1]


class AlternatingScreen(pyte.HistoryScreen):
    """pyte's screen does not know the alternate one."""

    _before: Any = None

    def set_mode(self, *modes: int, **options: Any) -> None:
        if options.get("private") and ALTERNATE in modes:
            self._before = copy.deepcopy(self.buffer), copy.copy(self.cursor)
            self.erase_in_display(2)
        super().set_mode(*modes, **options)

    def reset_mode(self, *modes: int, **options: Any) -> None:
        if options.get("private") and ALTERNATE in modes and self._before is not None:
            self.buffer, self.cursor = self._before
            self._before = None
            self.dirty.update(range(self.lines))
        super().reset_mode(*modes, **options)


class Terminal:
    """`bptt` with some arguments in a terminal of so many columns and rows."""

    def __init__(
        self, *arguments: object, columns: int, rows: int, variables: Mapping[str, str], encoding: str = "utf-8"
    ) -> None:
        self.screen = AlternatingScreen(columns, rows)
        self._stream = pyte.Stream(self.screen)
        self._encoding = encoding
        self.written = ""
        """All that was written, control characters and all."""
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(self._ours, (rows, columns))
        left_out = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
        kept = {key: value for key, value in os.environ.items() if key not in left_out}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**kept, "TERM": "xterm-256color", "PYTHONPATH": str(PROJECT), **variables},
            start_new_session=True,
        )
        os.close(theirs)

    @property
    def lines(self) -> list[str]:
        """What is on the screen, without the blanks at the ends of lines."""
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip()

    def shows(self, *words: str, within_s: float = 60.0) -> None:
        """Wait until all these words are on the screen at once."""
        self.until(lambda: all(word in self.text for word in words), within_s, f"{words} never came")
        self.settle()

    def until(self, is_so: Callable[[], bool], within_s: float, otherwise: str) -> None:
        give_up = time.monotonic() + within_s
        while not is_so():
            assert time.monotonic() < give_up, f"{otherwise}; on the screen:\n{self.text}"
            if not self._read(0.2) and self.process.poll() is not None:
                assert is_so(), f"{otherwise}; the command ended, on the screen:\n{self.text}"
                return

    def settle(self) -> None:
        """Wait until nothing more is being drawn."""
        while self._read(0.1):
            pass

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self._ours], [], [], timeout_s)[0]:
            return False
        try:
            content = os.read(self._ours, 65_536)
        except OSError:  # the command has closed it
            return False
        text = content.decode(self._encoding, errors="replace")
        self.written += text
        self._stream.feed(text)
        return bool(content)

    def resize(self, columns: int, rows: int) -> None:
        termios.tcsetwinsize(self._ours, (rows, columns))
        self.screen.resize(rows, columns)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.kill(self.process.pid, signal.SIGINT)

    def ended(self, within_s: float = 60.0) -> int:
        """Wait for the command's end, and return its exit status."""
        self.until(lambda: False if self._read(0.05) else self.process.poll() is not None, within_s, "it did not end")
        return int(self.process.wait())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)
