"""MLflow in a process of its own, so that the driver's loop shares neither interpreter lock nor terminal with it.

Importing MLflow takes 2 s of pure Python, making its tables as long again, and each of its calls 4 to 6 ms. In a thread
of the driver that would slow every step of the loop down; here it runs on whatever core is free. The process lives no
longer than its driver: it dies when the pipe to it closes, in the middle of a call if need be.
"""

from __future__ import annotations

import importlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

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


AHEAD = ("torch", "mlflow.pyfunc", "matplotlib.figure")
IDLE_S = 0.2
"""Without a call, once a trial was evaluated: time to load what is needed at the end, when everybody waits for it."""


class RemoteRuns:
    """SweepRuns in another process. Every call raises ConnectionError where it failed there, saying why."""

    def __init__(self, settings: Settings) -> None:
        path = os.pathsep.join(folder for folder in sys.path if folder)
        environment = {**PATIENCE, **QUIET, **os.environ, "PYTHONPATH": path}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from orchestrator.tracking.process import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the driver, which then ends this in good order
            env=environment,
        )
        self._send(settings)

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
            raise ConnectionError(f"the process that writes to MLflow died in {method}()") from error
        if problem:
            raise ConnectionError(problem)
        return answer

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

    def illustrate(self, illustrate: Illustrate, ended: Mapping[str, Any] | None) -> None:
        """See SweepRuns."""
        self._call("illustrate", illustrate, ended)

    @property
    def is_alive(self) -> bool:
        """Tell whether the process runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()


def serve() -> None:
    """Answer calls on standard input until the driver goes away."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not end up among the replies
    calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(calls,), daemon=True).start()
    runs = SweepRuns(calls.get())
    waits_s: float | None = None
    while True:
        try:
            method, arguments = calls.get(timeout=waits_s)
        except queue.Empty:
            load_ahead()
            waits_s = None
            continue
        if method == "write" and arguments[0].evaluations and not is_ahead() and runs.view.spec.workload.kind in KINDS:
            waits_s = IDLE_S
        try:
            reply = ("", getattr(runs, method)(*arguments))
        except Exception as error:  # noqa: BLE001 - the process's boundary
            reply = (f"{type(error).__name__}: {' '.join(str(error).split())[:500]}", None)
        pickle.dump(reply, replies)
        replies.flush()


def load_ahead() -> None:
    """Load what the end of a sweep takes, for its model and its figures, while trials are still trained."""
    for name in AHEAD:
        importlib.import_module(name)


def is_ahead() -> bool:
    """Tell whether all that is there."""
    return all(name in sys.modules for name in AHEAD)


def _listen(calls: queue.SimpleQueue[Any]) -> None:
    # A driver that was killed may be followed by another at once: nothing may be written after its death.
    while True:
        try:
            calls.put(pickle.load(sys.stdin.buffer))
        except (EOFError, OSError, pickle.UnpicklingError):
            os._exit(0)
