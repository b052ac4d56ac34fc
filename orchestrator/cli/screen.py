"""The live view of a sweep in a terminal."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.cli.lines import describe
from orchestrator.cli.pace import Pace
from orchestrator.cli.sparkline import best_so_far, sparkline
from orchestrator.spec import SweepSpec
from orchestrator.sweep import Event, Happening, Sweep
from orchestrator.trial import TrialRecord, best_trial
from orchestrator.wording import count, duration, in_view_order, number, setting, states, value_of

ABOVE_THE_VIEW = (Happening.ENDED, Happening.LOST, Happening.MOVED, Happening.RESUMED, Happening.WAITING)
"""Happenings that leave a line behind, which scrolls away above the view."""
OTHER_LINES = 11
"""Lines of the view beside those of trials under way."""
BAR_WIDTH = 10


class Screen:
    """Draws a sweep again and again. It only reads; another thread may draw while the sweep goes on."""

    def __init__(self, sweep: Sweep, console: Console, *, watch: str = "", pace: Pace | None = None) -> None:
        self.sweep, self.console, self.watch = sweep, console, watch
        self.pace = pace or Pace()
        self.slots = 0

    @property
    def spec(self) -> SweepSpec:
        """Return the spec as it is now: it may be steered."""
        return self.sweep.study.spec

    def live(self) -> Live:
        """Return the context in which the view is on the screen; it is gone behind it."""
        return Live(console=self.console, get_renderable=self.render, refresh_per_second=4, transient=True)

    def take(self, event: Event) -> None:
        """Count what happened, and write above the view what should stay readable."""
        self.pace.take(event)
        line = describe(event, self.sweep) if event.happening in ABOVE_THE_VIEW else None
        if line is not None:
            self.console.print(Text(line), soft_wrap=True)

    def render(self) -> RenderableType:
        """Return the view as it is now."""
        trials, under_way = list(self.sweep.trials), list(self.sweep.under_way.values())
        parts: list[RenderableType] = [Text(""), self._title(), self._trials(trials)]
        if under_way:
            parts.append(self._under_way(under_way))
        parts += [self._best(trials), self._footer(trials, under_way)]
        return Group(*parts)

    def _title(self) -> RenderableType:
        search = self.spec.search
        self.slots = self.sweep.executor.slots or self.slots  # none are left while the model is registered
        return Text.assemble(
            (self.spec.name, "bold"),
            f"  {self.spec.workload.kind}, sampler {search.sampler}, pruner {search.pruner}, "
            f"{count(self.slots, 'trial')} at once",
            no_wrap=True,
            overflow="ellipsis",
        )

    def _trials(self, trials: list[TrialRecord]) -> RenderableType:
        allowed, ended = self.sweep.study.trials_allowed, sum(trial.state.is_final for trial in trials)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(width=min(20, self.console.width // 4))
        grid.add_column(no_wrap=True, overflow="ellipsis")
        bar = ProgressBar(total=allowed, completed=ended)
        grid.add_row(f"trials {ended}/{allowed}", bar, states(trials, driven=True) if trials else "")
        return grid

    def _under_way(self, under_way: list[TrialRecord]) -> RenderableType:
        names, metric = self._columns(), self.sweep.study.metric
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("trial", justify="right", no_wrap=True)
        for name in names:
            table.add_column(name.replace("_", "\n"), justify="left" if name == "cell_type" else "right")
        table.add_column("progress", no_wrap=True)
        table.add_column(metric.replace("_", "\n"), justify="right")
        room = max(self.console.height - OTHER_LINES, 3)
        for trial in under_way[:room]:
            values = [value_of(trial.chosen[name]) if name in trial.chosen else "-" for name in names]
            table.add_row(str(trial.number), *values, self._progress(trial), number(trial.value(metric)))
        if len(under_way) > room:
            return Group(table, Text(f"and {len(under_way) - room} more", style="dim"))
        return table

    def _columns(self) -> list[str]:
        """Return the hyperparameters for which there is room, those first that a sweep is about."""
        progress = BAR_WIDTH + 2 * len(str(self.spec.budget.evaluations)) + 2
        value = max(len(word) for word in (*self.sweep.study.metric.split("_"), "1.234e-05"))
        room = self.console.width - (len("trial") + 2) - (progress + 2) - value
        names = []
        for name in in_view_order(self.spec.space):
            room -= self._width(name) + 2
            if room < 0:
                break
            names.append(name)
        return names

    def _width(self, name: str) -> int:
        header = max(map(len, name.split("_")))
        return max(header, *(len(value_of(end)) for end in self.spec.space[name].ends()), 0)

    def _progress(self, trial: TrialRecord) -> RenderableType:
        evaluations = self.spec.budget.evaluations
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            ProgressBar(total=evaluations, completed=len(trial.evaluations), width=BAR_WIDTH),
            f"{len(trial.evaluations)}/{evaluations}",
        )
        return grid

    def _best(self, trials: list[TrialRecord]) -> RenderableType:
        metric = self.sweep.study.metric
        best = best_trial(trials, metric, self.spec.objective.direction)
        if best is None:
            return Text("no trial is complete yet", style="dim")
        line = sparkline(
            best_so_far(trials, metric, self.spec.objective.direction),
            width=min(20, self.console.width // 4),
            encoding=self.console.encoding,
        )
        return Text.assemble(
            ("best", "bold green"),
            f"  {metric} {number(best.value(metric))}, trial {best.number}: {setting(best.chosen)}",
            (f"\n      {line} by trial" if line else "", "green"),
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
