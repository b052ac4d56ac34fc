"""A sweep's events in lines: for a pipe, for what stays above the live view, and for the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from orchestrator.cli.options import flags_given
from orchestrator.driver import Outcome
from orchestrator.event import Event, Happening
from orchestrator.sweep import Sweep
from orchestrator.trial import TrialRecord, best_trial
from orchestrator.wording import count, ending, number, setting, states

EVALUATION_LINES_S = 10.0
"""Seconds between two lines on the evaluations of one trial."""


class Lines:
    """A line for each start and end of a trial, and now and then one for an evaluation of a long trial."""

    def __init__(self, sweep: Sweep, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.sweep, self.write, self.clock = sweep, write, clock
        self.evaluations = sweep.study.spec.budget.evaluations
        self._written: dict[int, float] = {}
        self._tally = Tally(sweep)

    def take(self, event: Event) -> None:
        """Write the event's line, if it is worth one."""
        trial = event.trial
        line = describe(event, self.sweep, self._tally)
        if line is None:
            return
        if trial is None:
            self.write(line)
            return
        if event.happening is Happening.EVALUATED and len(trial.evaluations) == self.evaluations:
            return  # its end follows at once
        since = self.clock() - self._written.get(trial.number, -math.inf)
        if event.happening is not Happening.EVALUATED or since >= EVALUATION_LINES_S:
            self._written[trial.number] = self.clock()
            self.write(line)


class Tally:
    """Which trials of a sweep have been told to have ended: several may have before the first of them is told."""

    def __init__(self, sweep: Sweep) -> None:
        self._metric, self._direction = sweep.study.metric, sweep.study.spec.objective.direction
        before = [trial for trial in sweep.trials if trial.state.is_final]
        self._told = {trial.number for trial in before}
        self.best = best_trial(before, self._metric, self._direction)

    @property
    def ended(self) -> int:
        """Return how many."""
        return len(self._told)

    def count(self, trial: TrialRecord) -> None:
        """Count one that has ended."""
        self._told.add(trial.number)
        rivals = [trial] if self.best is None else [self.best, trial]
        self.best = best_trial(rivals, self._metric, self._direction)


def describe(event: Event, sweep: Sweep, tally: Tally | None = None) -> str | None:
    """Return an event as a line; None for one that is none. Who describes many of them keeps a tally."""
    trial, evaluations, metric = event.trial, sweep.study.spec.budget.evaluations, sweep.study.metric
    if trial is None:
        return event.message if event.happening is Happening.WAITING else None
    reached = f"evaluation {len(trial.evaluations)} of {evaluations}"
    match event.happening:
        case Happening.STARTED:
            return f"trial {trial.number} begins: {setting(trial.chosen)}"
        case Happening.RESUMED:
            return f"trial {trial.number} goes on after {reached}"
        case Happening.LOST:
            return f"trial {trial.number} lost its worker ({event.message}) after {reached}; it will be taken up again"
        case Happening.MOVED:
            return f"trial {trial.number} leaves its worker ({event.message}) after {reached}; it goes on elsewhere"
        case Happening.PAUSED:
            return f"trial {trial.number} is paused: {event.message}"
        case Happening.EVALUATED:
            return f"trial {trial.number}, {reached}: {metric} {number(trial.value(metric))}"
        case Happening.ENDED:
            tally = tally or Tally(sweep)
            tally.count(trial)
            how = f"trial {trial.number} {ending(trial, metric, tally.best)}"
            return f"[{tally.ended}/{sweep.study.trials_allowed}] {how}"
        case _:
            return None


def describe_end(trial: TrialRecord, sweep: Sweep) -> str:
    """Return in a line how a trial ended."""
    metric = sweep.study.metric
    best = best_trial(sweep.trials, metric, sweep.study.spec.objective.direction)
    return f"trial {trial.number} {ending(trial, metric, best)}"


def conclusion(sweep: Sweep, outcome: Outcome, watch: str) -> list[str]:
    """Return what a user wants to know at the end: how it went, what is best, and what to type next.

    `watch` is the command that shows the runs in MLflow; empty where tracking is off.
    """
    name, flags = sweep.study.spec.name, flags_given()
    trials = f"{count(len(sweep.trials), 'trial')} ({states(sweep.trials, driven=False)})"
    if outcome.state == "interrupted":
        reason = f", {outcome.message}" if outcome.message not in ("", "interrupted") else ""
        return [f"{name} stopped after {trials}{reason}; go on with `bptt resume {name}{flags}`"]
    reason = f": {outcome.message}" if outcome.message else ""
    lines = [f"{name} {outcome.state}{reason}: {trials}"]
    if outcome.best is not None:
        value = number(outcome.best.value(sweep.study.metric))
        lines.append(f"  best    trial {outcome.best.number}, {sweep.study.metric} {value}")
        lines.append(f"          {setting(outcome.best.chosen)}")
    if outcome.model:
        lines.append(f"  model   {outcome.model}")
    if not outcome.tracked:
        lines.append(f"  MLflow was not reached in time; `bptt resume {name}{flags}` sends the rest")
    lines.append(f"  report  bptt report {name}{flags}")
    if watch:
        lines.append(f"  curves  {watch}")
    if outcome.model:
        lines.append(f"  use     bptt predict {name}{flags}")
        if not outcome.model.endswith("/1"):  # an earlier winner may have stayed the champion
            lines.append(f"  models  bptt models compare {name}{flags}, for which of its winners is the champion")
    return lines
