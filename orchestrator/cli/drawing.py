"""What both live views draw: trials in all, what each worker does, the best so far, and how trials ended."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.cli.fitting import joined, packed, setting_lines, shortened
from orchestrator.cli.sparkline import best_so_far, sparkline
from orchestrator.spec import SweepSpec, trials_allowed
from orchestrator.standing import last_ended
from orchestrator.trial import TrialRecord, TrialState, best_trial, trial_ahead
from orchestrator.wording import briefly, count, ending, in_view_order, number, so_far, states, value_of
from orchestrator.workers import Doing, WorkerState, shown_workers

BAR_WIDTH = 10
ROOMY = 70
"""Columns from which on there are bars of progress too."""
MOST_ENDED = 5
"""Trials that ended last, where there is room for so many."""
LINES_FOR_A_REASON = 3
FEWEST_BARS = 5
"""With less room than that there is no line of the best values."""


class Drawing:
    """A sweep at one moment, drawn for a console as wide as it is now."""

    def __init__(
        self, spec: SweepSpec, trials: Sequence[TrialRecord], workers: Sequence[WorkerState], console: Console
    ) -> None:
        self.spec, self.trials, self.workers, self.console = spec, trials, workers, console
        self.metric, self.direction = str(spec.objective.metric), spec.objective.direction
        self.width = console.width
        names = shown_workers([worker.worker for worker in workers])
        self.names = {worker: name.removeprefix("worker ") for worker, name in names.items()}

    def short(self, text: str, width: int) -> str:
        """Return a text with its middle left out where there is no room for it."""
        return shortened(text, max(width, 1), self.console.encoding)

    def lines(self, *parts: RenderableType) -> int:
        """Return how many lines these take."""
        return len(self.console.render_lines(Group(*parts), self.console.options.update(height=None), pad=False))

    def counts(self, *, driven: bool, label: str = "trials") -> RenderableType:
        """Draw how many trials there are, ended and in which state."""
        allowed, ended = trials_allowed(self.spec), sum(trial.state.is_final for trial in self.trials)
        head, by_state = f"{label} {ended}/{allowed}", states(self.trials, driven=driven) if self.trials else ""
        bar = ProgressBar(total=allowed, completed=ended, width=min(20, self.width // 4))
        grid = Table.grid(padding=(0, 2))
        if len(head) + (bar.width or 0) + len(by_state) + 4 <= self.width:
            grid.add_row(head, bar, by_state)
            return grid
        grid.add_row(head, bar)
        return Group(grid, Text("\n".join(packed(by_state.split(", "), self.width))))

    def under_way(self, *, room: int | None = None) -> list[RenderableType]:
        """Draw what is trained and by whom, in at most about so many lines."""
        training = [(self.names[w.worker], w.since, w.trial) for w in self.workers if w.trial is not None]
        known = {trial.number for _, _, trial in training}
        waiting = [t for t in self.trials if t.state in (TrialState.RUNNING, TrialState.LOST) and t.number not in known]
        rows = [*training, *(("-", None, trial) for trial in waiting)]
        if not rows:
            return []
        names, table = self._columns(), self._table()
        shown = len(rows) if room is None else max(room - self.lines(table) - 1, 1)
        if len(rows) == shown + 1:
            shown += 1  # a line that says so takes as much
        for worker, since, trial in rows[:shown]:
            values = [value_of(trial.chosen[name]) if name in trial.chosen else "-" for name in names]
            who = [self.short(worker, self._worker_width())] if self.workers else []
            how_long = [("-" if since is None else briefly(time.time() - since))] if self.workers else []
            table.add_row(
                *who, str(trial.number), self._progress(trial), number(trial.value(self.metric)), *how_long, *values
            )
        left = len(rows) - shown
        return [table, Text(f"and {left:,} more under way", style="dim")] if left > 0 else [table]

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        if self.workers:
            is_of_one_host = all(name.isdecimal() for name in self.names.values())
            table.add_column("worker", no_wrap=True, justify="right" if is_of_one_host else "left")
        table.add_column("trial", justify="right", no_wrap=True)
        table.add_column("progress" if self.width >= ROOMY else "done", no_wrap=True)
        table.add_column(Text(self.metric.replace("_", "\n")), justify="right", no_wrap=True)
        if self.workers:
            table.add_column("for", justify="right", no_wrap=True)
        for name in self._columns():
            justify = "left" if name == "cell_type" else "right"
            table.add_column(name.replace("_", "\n"), justify=justify, no_wrap=True)  # type: ignore[arg-type]
        return table

    def _progress(self, trial: TrialRecord) -> RenderableType:
        evaluations = self.spec.budget.evaluations
        done = f"{len(trial.evaluations)}/{evaluations}"
        if self.width < ROOMY:
            return Text(done)
        grid = Table.grid(padding=(0, 1))
        grid.add_row(ProgressBar(total=evaluations, completed=len(trial.evaluations), width=BAR_WIDTH), done)
        return grid

    def _worker_width(self) -> int:
        longest = max(map(len, self.names.values()), default=0)
        return max(min(longest, self.width // 5), len("worker"))

    def _columns(self) -> list[str]:
        """Return the hyperparameters for which there is room, those first that a sweep is about.

        Decided by what the spec allows and not by what is shown, so that columns do not come and go.
        """
        evaluations = 2 * len(str(self.spec.budget.evaluations)) + 1
        widths = [
            *([self._worker_width(), len("59 min")] if self.workers else []),
            max(len("trial"), len(str(trials_allowed(self.spec)))),
            max(evaluations, 4) if self.width < ROOMY else BAR_WIDTH + 1 + evaluations,
            max(len(word) for word in (*self.metric.split("_"), "-1.234")),
        ]
        room = self.width - sum(widths) - 2 * len(widths)
        names = []
        for name in in_view_order(self.spec.space):
            room -= self._width(name)
            if room < 0:
                break
            room -= 2
            names.append(name)
        return names

    def _width(self, name: str) -> int:
        return max(*map(len, name.split("_")), *(len(value_of(end)) for end in self.spec.space[name].ends()), 0)

    def resting(self, *, slots: int | None = None) -> list[RenderableType]:
        """Draw the workers that train nothing, and since when; at most as many as there are `slots` for."""
        training = sum(worker.doing is Doing.TRAINING for worker in self.workers)
        by_time = sorted(self.workers, key=lambda worker: -worker.since)
        idle = [worker for worker in by_time if worker.doing is Doing.IDLE]
        free = len(idle) if slots is None else max(slots - training, 0)
        entries = [f"{self._named(worker)} for {briefly(time.time() - worker.since)}" for worker in idle[:free]]
        if free > len(idle):
            entries.append(f"{count(free - len(idle), 'worker')} not used yet")
        gone = [worker for worker in by_time if worker.doing is Doing.GONE]
        left = [f"{self._named(worker)} {briefly(time.time() - worker.since)} ago" for worker in gone]
        said = {"idle": entries, "gone": left if slots is None else []}
        room = self.width - len("idle  ")
        return [Text(f"{label}  {joined(found, room)}", style="dim") for label, found in said.items() if found]

    def _named(self, worker: WorkerState) -> str:
        name = self.names[worker.worker]
        return f"worker {name}" if name.isdecimal() else self.short(name, self._worker_width())

    def best(self) -> RenderableType:
        """Draw the best of the complete trials, and how the best value came down trial by trial."""
        best = best_trial(self.trials, self.metric, self.direction)
        if best is None:
            ahead = trial_ahead(self.trials, self.metric, self.direction)
            found = "" if ahead is None else f": {so_far(ahead, self.metric, self.spec.budget.evaluations)}"
            return Text(self.short(f"no trial is complete yet{found}", self.width), style="dim")
        label, encoding = "best  ", self.console.encoding
        what = f"{self.metric} {number(best.value(self.metric))}, trial {best.number}"
        room = self.width - len(label) - len(what) - 2
        values = best_so_far(self.trials, self.metric, self.direction)
        line = sparkline(values, width=min(40, room), encoding=encoding) if room >= FEWEST_BARS else ""
        fitted = setting_lines(
            best.chosen, self.width - len(label), most=2 if self.width >= ROOMY else 3, encoding=encoding
        )
        below = "".join(f"\n{' ' * len(label)}{each}" for each in fitted)
        return Text.assemble((label, "bold green"), what, (f"  {line}" if line else "", "green"), below)

    def ended(self, *, room: int | None = None) -> list[RenderableType]:
        """Draw how the last trials ended and why, as many as fit in so many lines."""
        grid, lines = Table.grid(padding=(0, 2)), 1
        grid.add_column(justify="right", no_wrap=True)
        grid.add_column(overflow="fold")
        best = best_trial(self.trials, self.metric, self.direction)
        found = last_ended(self.trials)[:MOST_ENDED]
        width = self.width - max((len(str(trial.number)) for trial in found), default=0) - 2
        for trial in found:
            what = self.short(ending(trial, self.metric, best), LINES_FOR_A_REASON * width - 10)
            end = Text(what)
            end.stylize(style_of(trial), 0, len(trial.state))
            lines += len(end.wrap(self.console, width))
            if room is not None and lines > room:
                break
            grid.add_row(str(trial.number), end)
        return [Text("ended last", style="dim"), grid] if grid.row_count else []


def style_of(ended: TrialRecord) -> str:
    """Return the colour of a trial that has ended."""
    return {TrialState.COMPLETE: "green", TrialState.PRUNED: "yellow"}.get(ended.state, "red")
