"""Early stopping that knows learning curves: `search.pruner: curves`.

After each evaluation a trial's last value is forecast from its own curve, its setting and all others
(`freeze_thaw.py`). Where it is not likely enough to beat the best so far, the trial is paused and its worker takes
another; a paused trial goes on from its checkpoint once its chances have risen. Everything follows from the evaluations
acknowledged: nothing is to be remembered.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from orchestrator.search.by_name import distributions_of
from orchestrator.search.freeze_thaw import comparable, observe
from orchestrator.search.points import Floats, Points
from orchestrator.spec import SweepSpec
from orchestrator.trial import TrialRecord, TrialState
from orchestrator.wording import number, percent

WORTH, MOST = 2.0, 0.2
"""How much likelier than a new trial one must be to beat the best so far, by evaluation still to be trained.

A new one beats the best of n trials with a probability of 1 / (n + 1), if it is drawn as they were, and may need all
evaluations for it; but it can be paused soon.
"""
LEAST_SHOWN = 1e-3
"""Of chances that are shown: what a tail says beyond is more than is known."""
LARGEST_LOG = 700.0
"""Of a forecast that is shown: the exponential of a larger one is no number."""
MOST_SEEN = 120
"""Trials that forecasts are made of: the time of one is cubic in them."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of one trial at its last evaluation, lower being better; of losses, their logarithm."""

    trial: TrialRecord
    mean: float
    deviation: float
    best: float
    """What there is to beat: of other trials, the best last value, or where none is complete the best expected one."""
    least: float
    """The probability of beating it with which the trial is worth what is left of it."""

    @property
    def chance(self) -> float:
        """Return the probability that the trial beats it."""
        if self.deviation == 0:
            return float(self.mean < self.best)
        return 0.5 * math.erfc((self.mean - self.best) / self.deviation / math.sqrt(2))

    @property
    def is_worth_it(self) -> bool:
        """Tell whether the trial is to go on."""
        return self.chance >= self.least


@dataclass(frozen=True, slots=True)
class Expected:
    """Last values of some trials."""

    means: Floats = field(default_factory=lambda: np.empty(0))
    deviations: Floats = field(default_factory=lambda: np.empty(0))
    are_logarithms: bool = False


@dataclass(slots=True)
class Curves:
    """Who goes on. Between two evaluations it is asked again and again, and forecasts once."""

    metric: str
    is_maximized: bool
    evaluations: int
    points: Points
    _asked: list[tuple[int, int]] = field(default_factory=list)
    _expected: Expected = field(default_factory=Expected)

    @classmethod
    def of(cls, spec: SweepSpec) -> Curves:
        """Return the rule of a sweep."""
        points = Points(distributions_of(spec))
        return cls(str(spec.objective.metric), spec.objective.direction == "maximize", spec.budget.evaluations, points)

    @property
    def _sign(self) -> float:
        """What makes lower values the better ones."""
        return -1.0 if self.is_maximized else 1.0

    def forecasts(self, trials: Sequence[TrialRecord], asked: TrialRecord | None = None) -> dict[int, Forecast]:
        """Return what is expected of unfinished trials that were evaluated, by number; of many, one asked about too."""
        seen = self._seen(trials, asked)
        if not seen:
            return {}
        self._expect(seen)
        means, deviations = self._expected.means, self._expected.deviations
        complete = np.array([self._is_complete(trial) for trial in seen])
        unfinished = np.array([not trial.state.is_final for trial in seen])
        found = {}
        for index, trial in enumerate(seen):
            if complete[index] or trial.state.is_final:
                continue
            others = complete if complete.any() else unfinished & (np.arange(len(seen)) != index)
            best = float(means[others].min()) if others.any() else math.inf
            left = 1 - len(trial.evaluations) / self.evaluations
            least = min(WORTH * left / (len(trials) + 1), MOST)
            found[trial.number] = Forecast(trial, float(means[index]), float(deviations[index]), best, least)
        return found

    def _is_complete(self, trial: TrialRecord) -> bool:
        return len(trial.evaluations) == self.evaluations

    def _seen(self, trials: Sequence[TrialRecord], asked: TrialRecord | None) -> list[TrialRecord]:
        """Return the trials that forecasts are made of: all, or the best, the latest, and the one asked about."""
        seen = [trial for trial in trials if trial.evaluations and trial.state is not TrialState.FAILED]
        if len(seen) <= MOST_SEEN:
            return seen
        # What diverged has no end to come; of what is complete the best is what there is to beat, however others began.
        ends = [trial for trial in seen if self._is_complete(trial) or not trial.state.is_final]
        best = sorted(ends, key=lambda trial: self._sign * trial.evaluations[-1].metrics[self.metric])
        complete = [trial for trial in best if self._is_complete(trial)][:1]
        kept = {trial.number for trial in (*complete, *best[: MOST_SEEN // 2], *ends[-(MOST_SEEN // 2) :])}
        return [trial for trial in seen if trial.number in kept or trial is asked]

    def _expect(self, seen: Sequence[TrialRecord]) -> None:
        """Forecast each trial's last value, unless that is known from before."""
        asked = [(trial.number, len(trial.evaluations)) for trial in seen]
        if asked == self._asked:
            return
        values = [[self._sign * each.metrics[self.metric] for each in trial.evaluations] for trial in seen]
        curves, are_logarithms = comparable(values)
        points = np.array([self.points.of(trial.chosen) for trial in seen])
        process = observe(curves, points, self.evaluations)
        means, deviations = process.ends(points, range(len(seen)))
        for index, trial in enumerate(seen):
            if self._is_complete(trial):
                means[index], deviations[index] = curves[index][-1], 0.0
        self._asked, self._expected = asked, Expected(means, deviations, are_logarithms)

    def pauses(self, trial: TrialRecord, trials: Sequence[TrialRecord]) -> str:
        """Say why a trial is not to go on now; empty where it is."""
        if trial.pinned or self._is_complete(trial):
            return ""
        # Of those that wait some may not be seen, or each of thousands would take a forecast of its own.
        asked = trial if trial.state is TrialState.RUNNING else None
        forecast = self.forecasts(trials, asked).get(trial.number)
        if forecast is None or forecast.is_worth_it:
            return ""
        mean, best, deviation = forecast.mean, forecast.best, forecast.deviation
        if self._expected.are_logarithms:
            mean, best = (math.exp(min(value, LARGEST_LOG)) for value in (mean, best))
            deviation *= mean
        chance = percent(forecast.chance) if forecast.chance > LEAST_SHOWN else f"less than {percent(LEAST_SHOWN)}"
        return (
            f"{number(self._sign * mean)} +- {number(deviation)} expected at the end: "
            f"{chance} likely to beat {number(self._sign * best)}"
        )

    def leaves(self, trial: TrialRecord, trials: Sequence[TrialRecord]) -> str:
        """Say why a paused trial is ended, once none goes on any more."""
        return self.pauses(trial, trials) or "not promoted"

    def next(self, trials: Sequence[TrialRecord]) -> TrialRecord | None:
        """Return the paused trial that is to go on now, the one with the best chance; None where none is."""
        paused = self._paused(trials)
        best = max(paused, key=lambda each: (each.chance / each.least, -each.trial.number), default=None)
        return best.trial if best is not None and best.is_worth_it else None

    def spare(self, trials: Sequence[TrialRecord], under_way: Iterable[TrialRecord]) -> TrialRecord | None:
        """Return none: what is not worth its evaluations is not trained."""
        return None

    def last_resort(self, trials: Sequence[TrialRecord]) -> TrialRecord | None:
        """Return the paused trial with the best mean."""
        paused = self._paused(trials)
        best = min(paused, key=lambda each: (each.mean, each.trial.number), default=None)
        return None if best is None else best.trial

    def _paused(self, trials: Sequence[TrialRecord]) -> list[Forecast]:
        if all(trial.state is not TrialState.PAUSED for trial in trials):
            return []
        return [each for each in self.forecasts(trials).values() if each.trial.state is TrialState.PAUSED]
