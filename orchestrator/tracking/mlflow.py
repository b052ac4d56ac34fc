"""MLflow as a view of a sweep, kept up behind the loop.

The loop only says which trials changed. A thread gathers that for a moment, then shows each changed trial as it stands.
What could not be shown stays marked, so a server that is away delays nothing and loses nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Protocol

from orchestrator.errors import BpttError, presentable
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.tracking.base import Illustrate, Model
from orchestrator.tracking.process import RemoteDrawing, RemoteRuns
from orchestrator.tracking.register import Winner
from orchestrator.tracking.view import SweepView
from orchestrator.trial import TrialRecord, TrialState
from workloads.protocol import Dataset

GATHER_S = 0.3
"""Evaluations that come within this time of each other are written in one call."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
"""Between two tries to reach a server that is away."""
REGISTER_WITHIN_S = 180.0
FIRST_REPORT_S, REPORT_EVERY_S, SHARE_OF_REPORTS = 60.0, 60.0, 50
"""When report and figures are first shown, and then anew: at most so often, and for at most one part in so many of the
time, since whoever draws takes a core from the trials. A short sweep has them at its end alone."""
TIME_FOR_A_REPORT_S = 20.0
"""Who closes in less, after a fault or a second Ctrl-C, does not wait for figures."""


class Runs(Protocol):
    """Where the thread writes: SweepRuns, here or in another process."""

    def open(self, view: SweepView, chosen: Mapping[int, Mapping[str, Any]]) -> dict[int, str]:
        """Find or make the runs; return the trials shown, each with its state if its run is ended."""

    def attach(self) -> None:
        """Put the sweep file beside the parent run."""

    def write(self, trial: TrialRecord) -> None:
        """Show a trial; its evaluations may be only those not written before."""

    def try_out(self, model: Model) -> Winner | str:
        """Return the model with its example answered, or in a line why it does not answer."""

    def register(self, winner: Winner) -> str:
        """Register the winner's model and return its URI."""

    def end(self, summary: Mapping[str, Any]) -> None:
        """End the parent run."""

    def illustrate(self, files: Mapping[str, bytes] | str, winner: int | None) -> None:
        """Put report and figures beside the parent run, in place of those before, or say there why there are none."""

    @property
    def is_alive(self) -> bool:
        """Tell whether calls can be answered at all."""

    def close(self) -> None:
        """Let go of everything, at once."""


class Drawing(Protocol):
    """Figures on the way: RemoteDrawing, or drawn here."""

    def files(self, ended: Mapping[str, Any] | None) -> Mapping[str, bytes]:
        """Return report and figures by file name; ConnectionError where they cannot be drawn."""

    def close(self) -> None:
        """Let go of everything, at once."""


class MlflowTracker:
    """Shows a sweep in MLflow."""

    def __init__(
        self,
        settings: Settings,
        connect: Callable[[Settings], Runs] = RemoteRuns,
        *,
        draw: Callable[[Settings, Illustrate, str], Drawing] = RemoteDrawing,
        illustrate: Illustrate | None = None,
    ) -> None:
        self.settings = settings
        self._draw, self._illustrate = draw, illustrate
        self._illustrate_at_s = time.monotonic() + FIRST_REPORT_S
        self._has_time = True  # for figures at the end
        self.problem = ""
        """Why the last try to write failed; empty while all is well."""
        self._connect = connect
        self._runs: Runs | None = None
        self._is_open = self._is_attached = self._is_ended = False
        self._trials: dict[int, TrialRecord] = {}
        self._changed: dict[int, None] = {}  # numbers, those that have waited longest first
        self._written: dict[int, int] = {}  # evaluations by trial
        self._finished: set[int] = set()  # trials whose runs are ended
        self._winner: tuple[Model, Future[str]] | None = None
        self._registered: int | None = None
        self._drawings: list[Drawing] = []
        self._last_drawing: Drawing | None = None
        self._summary: Mapping[str, Any] | None = None
        self._lock = threading.Lock()
        self._work, self._closing, self._given_up = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name="mlflow", daemon=True)

    def warm_up(self) -> None:
        """Start what writes, which takes seconds, while workers are not there yet."""
        with contextlib.suppress(OSError):  # opening tries again, and says why
            self._runs = self._connect(self.settings)

    def open(self, spec: SweepSpec, dataset: Dataset, trials: Sequence[TrialRecord]) -> None:
        """Begin to show a sweep, behind the caller's back: it is not waited for."""
        self._view = SweepView.of(spec, dataset)
        for trial in trials:
            self._mark(trial)
        self._work.set()
        self._thread.start()

    def changed(self, trial: TrialRecord) -> None:
        """Mark a trial to be shown as it stands. Returns at once."""
        self._mark(trial)
        self._work.set()

    def _mark(self, trial: TrialRecord) -> None:
        with self._lock:
            self._trials[trial.number] = trial
            self._changed[trial.number] = None

    def register(self, model: Model) -> str | None:
        """Log the winner's model, register it, and let it be champion or challenger; return its URI.

        Raises BpttError where MLflow could not be reached for minutes; taking the sweep up again registers it.
        """
        registered: Future[str] = Future()
        self._winner = (model, registered)
        self._work.set()
        self._last_drawing = self._begin_drawing()  # all trials have ended: no need to wait for the model
        try:
            uri = registered.result(REGISTER_WITHIN_S)
        except TimeoutError:
            self._winner = None
            why = f": {self.problem}" if self.problem else ""
            name = self._view.spec.name
            raise BpttError(f"the model could not be registered{why}; `bptt run` on {name} tries again") from None
        self._registered = model.trial.number
        return uri

    def _begin_drawing(self) -> Drawing | None:
        if self._illustrate is None:
            return None
        try:
            drawing = self._draw(self.settings, self._illustrate, self._view.spec.name)
        except OSError:  # no process is to be had: what is shown does without figures
            return None
        self._drawings.append(drawing)
        return drawing

    def _show_figures(self, runs: Runs, drawing: Drawing | None, ended: Mapping[str, Any] | None = None) -> None:
        """Show what is drawn, or why it cannot be: whatever that is, it must not keep trials from being shown."""
        if drawing is None:
            return
        files: Mapping[str, bytes] | str
        try:
            files = drawing.files(ended)
        except ConnectionError as error:
            files = str(error)
        runs.illustrate(files, self._registered)

    def _end_drawing(self, drawing: Drawing | None) -> None:
        if drawing is not None:
            drawing.close()
            self._drawings.remove(drawing)

    def close(self, summary: Mapping[str, Any], timeout_s: float) -> bool:
        """Show the rest and the summary; False where `timeout_s` passed before all was shown."""
        if not self._thread.is_alive():  # never opened, or closed before
            self._end_processes()
            return self._is_ended
        self._summary = dict(summary)
        self._has_time = timeout_s >= TIME_FOR_A_REPORT_S
        self._closing.set()
        self._work.set()
        self._thread.join(timeout_s)
        self._given_up.set()
        if self._thread.is_alive():
            self._end_processes()  # frees the thread from a call that hangs
            self._thread.join(1.0)
        return self._is_ended

    def _end_processes(self) -> None:
        if self._runs is not None:
            self._runs.close()
        for drawing in tuple(self._drawings):
            drawing.close()

    def abandon(self) -> None:
        """Show nothing more, at once: what there is to show is another driver's to say now."""
        self._given_up.set()
        self._work.set()
        self._end_processes()

    def _keep_up(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._given_up.is_set() and not self._is_ended:
            self._work.wait()
            self._closing.wait(GATHER_S if self._winner is None else 0.0)
            self._work.clear()
            try:
                self._catch_up()
                self.problem, pause = "", FIRST_PAUSE_S
            except Exception as error:  # noqa: BLE001 - a server can be away in more ways than can be listed
                self.problem = presentable(str(error)) or type(error).__name__
                self._let_go()
                self._work.set()
                hurried = self._closing.is_set()
                (self._given_up if hurried else self._closing).wait(FIRST_PAUSE_S if hurried else pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
        self._end_processes()

    def _let_go(self) -> None:
        # A call that failed may have been carried out all the same; only looking again tells.
        self._is_open = False
        if self._runs is not None and not self._runs.is_alive:
            self._runs.close()
            self._runs = None

    def _catch_up(self) -> None:
        runs = self._runs = self._runs or self._connect(self.settings)
        if not self._is_open:
            self._look(runs)
        for _ in range(len(self._changed)):  # those that change meanwhile gather for the next round
            trial = self._next()
            if trial is None:
                break
            try:
                self._write(runs, trial)
            except BaseException:
                self._mark(trial)
                raise
        if not self._is_attached:
            runs.attach()
            self._is_attached = True
        if (order := self._winner) is not None and not self._changed:
            # There, so that torch need not be loaded here as well.
            winner = runs.try_out(order[0])
            uri = winner if isinstance(winner, str) else runs.register(winner)
            self._winner = None
            if isinstance(winner, str):
                order[1].set_exception(BpttError(f"the model is not registered, since it does not predict: {winner}"))
            else:
                order[1].set_result(uri)
        if self._summary is not None and not self._changed:
            runs.end(self._summary)
            if self._has_time:
                self._last_drawing = self._last_drawing or self._begin_drawing()
                self._show_figures(runs, self._last_drawing, self._summary)
            self._is_ended = True
        elif self._illustrate is not None and self._winner is None and time.monotonic() >= self._illustrate_at_s:
            began = time.monotonic()
            drawing = self._begin_drawing()
            try:
                self._show_figures(runs, drawing)
            finally:
                self._end_drawing(drawing)
            took = time.monotonic() - began
            self._illustrate_at_s = began + max(took * SHARE_OF_REPORTS, REPORT_EVERY_S)

    def _look(self, runs: Runs) -> None:
        """Open the runs, and find out which trials they show already."""
        with self._lock:
            trials = dict(self._trials)
        shown = runs.open(self._view, {number: dict(trial.chosen) for number, trial in trials.items()})
        for number, trial in trials.items():
            if shown.get(number) == trial.state:
                self._finished.add(number)
                continue
            self._finished.discard(number)
            if number not in shown:
                self._written.pop(number, None)
            if number not in shown or trial.state.is_final or trial.state is TrialState.PAUSED:
                self._mark(trial)
        self._is_open = True

    def _next(self) -> TrialRecord | None:
        with self._lock:
            while self._changed:
                number = next(iter(self._changed))
                del self._changed[number]
                if number not in self._finished:
                    return self._trials[number]
        return None

    def _write(self, runs: Runs, trial: TrialRecord) -> None:
        # The loop may end the trial at this very moment: the end is read first, all that led to it after.
        ended, state, reason = trial.ended, trial.state, trial.reason
        if ended is None:
            state, reason = TrialState.PAUSED if state is TrialState.PAUSED else TrialState.RUNNING, ""
        written = self._written.get(trial.number, 0)
        fresh = trial.evaluations[written:]
        runs.write(replace(trial, evaluations=fresh, state=state, reason=reason, ended=ended))
        self._written[trial.number] = written + len(fresh)
        if state.is_final:
            self._finished.add(trial.number)
