"""The live view of a sweep in a terminal, while it is driven there."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rich.console import Console, ConsoleRenderable, Group, RenderableType
from rich.live import Live
from rich.text import Text

from orchestrator.cli.drawing import Drawing, style_of
from orchestrator.cli.lines import Tally, describe, describe_end
from orchestrator.cli.pace import Pace
from orchestrator.cli.steady import SteadyLive
from orchestrator.event import Event, Happening
from orchestrator.spec import SweepSpec
from orchestrator.standing import last_ended
from orchestrator.sweep import Sweep
from orchestrator.trial import TrialRecord
from orchestrator.wording import count, duration, number
from orchestrator.workers import find_workers

ABOVE_THE_VIEW = (Happening.ENDED, Happening.LOST, Happening.MOVED, Happening.RESUMED, Happening.WAITING)
"""Happenings that leave a line behind, which scrolls away above the view."""
LINES_ABOVE = 5
"""Of the screen, left to them however many trials are under way."""
BEFORE = 3
"""Trials that ended under an earlier driver, shown at the start."""


class Screen:
    """Draws a sweep again and again. It only reads; another thread may draw while the sweep goes on."""

    def __init__(self, sweep: Sweep, console: Console, *, watch: str = "", pace: Pace | None = None) -> None:
        self.sweep, self.console, self.watch = sweep, console, watch
        self.pace = pace or Pace()
        self.slots = 0
        self._tally = Tally(sweep)
        self._above: deque[Text] = deque(maxlen=50)

    @property
    def spec(self) -> SweepSpec:
        """Return the spec as it is now: it may be steered."""
        return self.sweep.study.spec

    def live(self) -> Live:
        """Return the context in which the view is on the screen; it is gone behind it."""
        for trial in reversed(last_ended(self.sweep.trials)[:BEFORE]):
            self._leave(f"before: {describe_end(trial, self.sweep)}", trial)
        return SteadyLive(self.render, self.console, above=self._lines_above)

    def take(self, event: Event) -> None:
        """Count what happened, and write above the view what should stay readable."""
        self.pace.take(event)
        line = describe(event, self.sweep, self._tally) if event.happening in ABOVE_THE_VIEW else None
        if line is not None:
            self._leave(line, event.trial if event.happening is Happening.ENDED else None)

    def _leave(self, line: str, ended: TrialRecord | None) -> None:
        text = Text(line)
        if ended is not None:
            text.highlight_words([f"{ended.state}:"], style_of(ended))
        self.console.print(text)
        self._above.append(text)  # afterwards: printing may write all of them again

    def _lines_above(self) -> Sequence[ConsoleRenderable]:
        """Return the lines to be written again where the screen was cleared."""
        return [*self._above][-self.console.height :]

    def render(self) -> RenderableType:
        """Return the view as it is now."""
        trials, under_way = list(self.sweep.trials), list(self.sweep.under_way.values())
        workers = find_workers(list(self.sweep.stints.latest.values()), trials)
        drawing = Drawing(self.spec, trials, workers, self.console)
        head = [Text(""), self._title(drawing), drawing.counts(driven=True)]
        tail = [
            *drawing.resting(slots=self.sweep.executor.slots),
            drawing.best(),
            self._footer(trials, under_way),
        ]
        room = self.console.height - drawing.lines(*head, *tail) - LINES_ABOVE
        return Group(*head, *drawing.under_way(room=room), *tail)

    def _title(self, drawing: Drawing) -> RenderableType:
        search, name = self.spec.search, self.spec.name
        self.slots = self.sweep.executor.slots or self.slots  # none are left while the model is registered
        what = (
            f"{self.spec.workload.kind}, sampler {search.sampler}, pruner {search.pruner}, "
            f"{count(self.slots, 'trial')} at once"
        )
        room = drawing.width - len(name) - 2
        return Text.assemble(
            (drawing.short(name, drawing.width), "bold"), f"  {drawing.short(what, room)}" if room > 10 else ""
        )

    def _footer(self, trials: list[TrialRecord], under_way: list[TrialRecord]) -> RenderableType:
        if self.sweep.stopping:
            waiting = f"; waiting for {count(len(under_way), 'evaluation')} under way" if under_way else ""
            return Text(f"stopping: {self.sweep.stopping}{waiting}", style="yellow")
        if not under_way and self._all_ended(trials):
            return Text("all trials have ended; registering the best model", style="dim")
        rate = number(self.pace.sequence_steps_per_second()) if self.pace.evaluations else "no"
        advice = f"see curves with `{self.watch}` in another terminal; Ctrl-C stops" if self.watch else "Ctrl-C stops"
        return Text(
            f"{rate} sequence steps/s, {duration(self.pace.elapsed_s)} so far, {self._left(trials)}\n{advice}",
            style="dim",
        )

    def _all_ended(self, trials: list[TrialRecord]) -> bool:
        return len(trials) >= self.sweep.study.trials_allowed and all(trial.state.is_final for trial in trials)

    def _left(self, trials: list[TrialRecord]) -> str:
        allowed, budget = self.sweep.study.trials_allowed, self.spec.budget
        by_trials = self.pace.seconds_left(trials, allowed=allowed, evaluations=budget.evaluations)
        limits = [] if by_trials is None else [by_trials]
        if budget.hours is not None:
            limits.append(max(self.sweep.keeper.limit_s - self.pace.elapsed_s, 0.0))
        return f"about {duration(min(limits))} left" if limits else "time left not known yet"
