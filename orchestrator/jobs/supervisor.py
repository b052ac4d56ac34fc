"""What a job on a cluster runs: the driver as a child process, started again when it dies.

A driver that ends by itself has said why, and stays ended; one that was killed or broke down is followed by another,
which takes the sweep up from the database.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.database.ledger import Ledger
from orchestrator.errors import BpttError, SweepNotFound

REFUSED = 2
"""Exit status of a driver that was asked for what cannot be; a database that is away looks like that too."""
ENDED = (0, REFUSED, 130)
"""Exit statuses of a driver that meant to end: done, the user's mistake, stopped."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
MOST_STARTS = 6
"""Starts in a row without an evaluation in between."""
INSIST_AFTER_S = 1.5
"""Ray gives a job that it stops 3 s; a driver that waits for its evaluations is told once more before that."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a sweep stands, as far as going on with it is concerned."""

    state: str
    message: str
    owner: str | None
    is_driven: bool
    stop_requested: bool
    evaluations: int


def mark(ledger: Ledger, name: str) -> Mark:
    """Read where a sweep stands; SweepNotFound where there is none."""
    row = ledger.sweep(name)
    done = ledger.count_evaluations(name)
    return Mark(row.state, row.message, row.owner, row.is_driven, row.stop_requested, done)


@dataclass(slots=True)
class Patience:
    """How long to wait before another start, and when to give up."""

    starts: int = 0
    evaluations: int = 0

    def pause_s(self, evaluations: int | None) -> float | None:
        """Return the pause before the next start, given the evaluations there are now; None to give up."""
        if evaluations is not None and evaluations > self.evaluations:
            self.starts, self.evaluations = 0, evaluations
        self.starts += 1
        if self.starts >= MOST_STARTS:
            return None
        return min(FIRST_PAUSE_S * 2.0 ** (self.starts - 1), LONGEST_PAUSE_S)


@dataclass(slots=True)
class Supervisor:
    """Keeps one sweep driven: `begin(again)` starts a driver, `look()` reads the database, None where it is away."""

    begin: Callable[[bool], subprocess.Popen[bytes]]
    look: Callable[[], Mark | None]
    say: Callable[[str], None]
    insist_after_s: float | None = None
    """Seconds after which a driver that was asked to end is asked again; None to wait for as long as it takes."""
    stopping: threading.Event = field(default_factory=threading.Event)
    _child: subprocess.Popen[bytes] | None = None
    _signal: signal.Signals = signal.SIGTERM

    def stop(self, number: int, _frame: object = None) -> None:
        """Pass a signal on to the driver, after which it is not started again."""
        self._signal = signal.Signals(number)
        self.stopping.set()
        self._pass_on()

    def _pass_on(self) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(self._signal)

    def run(self) -> int:
        """Drive until the sweep ended, was stopped, cannot go on or is someone else's; return the exit status."""
        patience = Patience(evaluations=self._evaluations(self.look()) or 0)
        again = False
        while True:
            status = self._drive(again)
            seen = self.look()
            if self.stopping.is_set():
                return 130 if status < 0 else status
            if (status in ENDED and not (status == REFUSED and seen is None)) or (seen and not can_go_on(seen)):
                return status if status >= 0 else 1
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"broke down (exit {status})"
            pause_s = patience.pause_s(self._evaluations(seen))
            if pause_s is None:
                self.say(f"the driver {how}, {MOST_STARTS} times without an evaluation in between; given up")
                return 1
            self.say(f"the driver {how}; another takes over in {pause_s:g} s")
            if self.stopping.wait(pause_s):
                return 130
            now = self.look()
            if now is not None and (not can_go_on(now) if seen is None else now != seen):
                self.say("in the meantime someone else has stopped the sweep or taken it over")
                return 0
            again = True

    def _drive(self, again: bool) -> int:
        child = self._child = self.begin(again)
        if self.stopping.is_set():
            self._pass_on()  # asked while it was being started
        asked = None
        while True:
            try:
                return child.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                pass
            if self.stopping.is_set() and self.insist_after_s is not None:
                asked = asked or time.monotonic()
                if time.monotonic() - asked > self.insist_after_s:
                    asked = time.monotonic()
                    self._pass_on()

    @staticmethod
    def _evaluations(seen: Mark | None) -> int | None:
        return None if seen is None else seen.evaluations


def can_go_on(seen: Mark) -> bool:
    """Tell whether a sweep whose driver has just died should be driven on."""
    return seen.state in ("running", "interrupted") and not seen.is_driven and not seen.stop_requested


def looking(study_url: str, name: str) -> Callable[[], Mark | None]:
    """Return a function that reads where the sweep stands; it returns None where that cannot be known now."""

    def look() -> Mark | None:
        try:
            return mark(Ledger(study_url), name)
        except SweepNotFound:
            return Mark("running", "", None, False, False, 0)  # its driver died before it was entered
        except BpttError:
            return None

    return look


def supervise(name: str, study_url: str, command: list[str], *, insist_after_s: float | None = None) -> int:
    """Run `command` (with `--again` after its first time) until the sweep needs no driver; return the exit status."""

    def begin(again: bool) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, *(["--again"] if again else [])])

    def say(line: str) -> None:
        print(f"{name}: {line}", file=sys.stderr, flush=True)

    supervisor = Supervisor(begin, looking(study_url, name), say, insist_after_s)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.stop)
    return supervisor.run()
