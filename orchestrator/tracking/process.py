"""MLflow and figures in processes of their own: the driver shares neither interpreter lock nor terminal with them.

Importing MLflow and making its tables takes 2 to 4 s of pure Python, and each of its calls 4 to 6 ms. In a thread of
the driver that would slow every step of the loop down; here it runs on whatever core is free, and it begins as soon as
the process is there, while Ray starts. A process lives no longer than its driver: it dies when the pipe to it closes,
in the middle of a call if need be.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.settings import Settings
from orchestrator.tracking.base import Illustrate, Model
from orchestrator.tracking.client import QUIET
from orchestrator.tracking.register import Winner
from orchestrator.tracking.runs import SweepRuns
from orchestrator.tracking.view import SweepView
from orchestrator.trial import TrialRecord
from workloads import KINDS

PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""The tracker tries again by itself; MLflow alone would take minutes to say that a server is away."""


AHEAD = ("torch", "mlflow.pyfunc")
"""What takes seconds to load and is needed at the end, for the model, when everybody waits for it."""
IDLE_S, FREE_CORES = 0.25, 0.7
"""Without a call, once a trial was evaluated, and with so much of a core free: the time to load one of these."""


class _Process:
    """A process that runs one of the functions below, which answers calls."""

    does = ""
    """What it does, in words."""

    def __init__(self, function: str, *given: object) -> None:
        path = os.pathsep.join(folder for folder in sys.path if folder)
        environment = {**PATIENCE, **QUIET, **os.environ, "PYTHONPATH": path}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from orchestrator.tracking.process import {function}; {function}()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the driver, which then ends this in good order
            env=environment,
        )
        self._send(given)

    def _send(self, content: object) -> None:
        assert self._process.stdin is not None
        pickle.dump(content, self._process.stdin)
        self._process.stdin.flush()

    def _call(self, method: str, *arguments: Any) -> Any:
        assert self._process.stdout is not None
        try:
            self._send((method, arguments))
            problem, answer = pickle.load(self._process.stdout)
        except (OSError, EOFError, ValueError) as error:
            raise ConnectionError(f"the process that {self.does} died in {method}()") from error
        if problem:
            raise ConnectionError(problem)
        return answer

    @property
    def is_alive(self) -> bool:
        """Tell whether the process runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()


class RemoteRuns(_Process):
    """SweepRuns in another process. Every call raises ConnectionError where it failed there, saying why."""

    does = "writes to MLflow"

    def __init__(self, settings: Settings) -> None:
        super().__init__("serve_runs", settings)

    def open(self, view: SweepView, chosen: Mapping[int, Mapping[str, Any]]) -> dict[int, str]:
        """See SweepRuns."""
        states: dict[int, str] = self._call("open", view, chosen)
        return states

    def attach(self) -> None:
        """See SweepRuns."""
        self._call("attach")

    def write(self, trial: TrialRecord) -> None:
        """See SweepRuns."""
        self._call("write", trial)

    def try_out(self, model: Model) -> Winner | str:
        """See SweepRuns."""
        found: Winner | str = self._call("try_out", model)
        return found

    def register(self, winner: Winner) -> str:
        """See SweepRuns."""
        uri: str = self._call("register", winner)
        return uri

    def end(self, summary: Mapping[str, Any]) -> None:
        """See SweepRuns."""
        self._call("end", summary)

    def illustrate(self, files: Mapping[str, bytes] | str, winner: int | None) -> None:
        """See SweepRuns."""
        self._call("illustrate", files, winner)


class RemoteDrawing(_Process):
    """A sweep's figures, drawn in another process from the moment on at which this is made."""

    does = "draws figures"

    def __init__(self, settings: Settings, illustrate: Illustrate, name: str) -> None:
        super().__init__("serve_drawing", settings, illustrate, name)

    def files(self, ended: Mapping[str, Any] | None) -> Mapping[str, bytes]:
        """Return the report and the figures by file name, told how the sweep ended where it has.

        Raises ConnectionError where they cannot be drawn, saying why.
        """
        files: Mapping[str, bytes] = self._call("files", ended)
        return files


class _Driver:
    """The other end of a process's pipes."""

    def __init__(self) -> None:
        self._replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not end up among the replies
        self._calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(self._calls,), daemon=True).start()
        self.given = self._calls.get()

    def call(self, timeout_s: float | None = None) -> Any:
        """Return the next call's method and arguments; queue.Empty where none comes in time."""
        return self._calls.get(timeout=timeout_s)

    def answer(self, work: Callable[[], object]) -> None:
        """Do what a call asks for, and reply."""
        try:
            reply = ("", work())
        except Exception as error:  # noqa: BLE001 - the process's boundary
            reply = (f"{type(error).__name__}: {' '.join(str(error).split())[:500]}", None)
        pickle.dump(reply, self._replies)
        self._replies.flush()


def serve_drawing() -> None:
    """Draw, then answer calls until the driver goes away."""
    driver = _Driver()
    settings, illustrate, name = driver.given
    try:
        files = illustrate(settings, name)
    except Exception as error:  # noqa: BLE001 - whoever asks for the files is told
        problem = error

        def files(_: object) -> NoReturn:
            raise problem

    while True:
        _, arguments = driver.call()
        driver.answer(partial(files, *arguments))


def serve_runs() -> None:
    """Answer calls until the driver goes away."""
    driver = _Driver()
    runs = SweepRuns(*driver.given)
    with contextlib.suppress(Exception):  # opening them tries again, and says why
        runs.prepare()
    ahead, is_time, idleness = list(AHEAD), False, Idleness()
    while True:
        try:
            method, arguments = driver.call(IDLE_S if is_time and ahead else None)
        except queue.Empty:
            if idleness.cores() >= FREE_CORES:
                with contextlib.suppress(ImportError):  # whoever needs it says so
                    importlib.import_module(ahead.pop(0))
            continue
        is_time = is_time or (method == "write" and arguments[0].evaluations and runs.view.spec.workload.kind in KINDS)
        driver.answer(partial(getattr(runs, method), *arguments))


class Idleness:
    """How much of the machine has nothing to do; what a container may have of it is not known."""

    def __init__(self) -> None:
        self._at_s = self._idle_s = 0.0

    def cores(self) -> float:
        """Return how many cores were idle since this was asked last, 0 at first; infinite where no system tells."""
        before, self._at_s = (self._at_s, self._idle_s), time.monotonic()
        try:
            self._idle_s = int(Path("/proc/stat").read_text().split(maxsplit=5)[4]) / os.sysconf("SC_CLK_TCK")
        except OSError:
            return math.inf
        return (self._idle_s - before[1]) / (self._at_s - before[0]) if before[0] else 0.0


def _listen(calls: queue.SimpleQueue[Any]) -> None:
    # A driver that was killed may be followed by another at once: nothing may be written after its death.
    while True:
        try:
            calls.put(pickle.load(sys.stdin.buffer))
        except (EOFError, OSError, pickle.UnpicklingError):
            os._exit(0)
