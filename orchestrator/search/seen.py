"""What samplers see of a sweep's trials, where that differs from what is."""

from __future__ import annotations

import copy
from bisect import insort
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from orchestrator.search.memory import StudyInMemory

OF_ITS_SPACE = "cma:"
"""Attributes in which CMA-ES keeps a distribution over the space that it was asked in."""
VERDICT = "trainable"
"""The constraint of Optuna's that an infeasible trial breaks."""


MOST_SEEN, BEST_SEEN = 1000, 25
"""Trials that have ended, as many as TPE sees of them, and as many of the best as it takes for good ones."""


class SeenBySamplers(StudyInMemory):
    """A study in memory that samplers see a little otherwise while they are asked; pruners see it as it is.

    - A paused trial may never go on. To TPE a running one counts as bad, so it is shown as one that was pruned.
    - In a space that was narrowed, trials within it are shown as if they had been drawn from it: samplers learn only
      from parameters whose ranges have always been the same. Those outside of it are shown as failed, which samplers
      do not look at. CMA-ES begins anew there, for its state belongs to the ranges it came from.
    - Where only so many are to be seen (`most_seen`), they are the best ones and the latest, with all under way.
    """

    def __init__(self, *, most_seen: int | None = None) -> None:
        super().__init__()
        self.most_seen = most_seen
        self._ended: list[int] = []  # numbers of trials that samplers learn from, in order
        self._open: set[int] = set()
        self._best: list[tuple[float, int]] = []  # value, the lower the better, and number
        self._view: list[FrozenTrial] | None = None  # while it is asked
        self.paused: set[int] = set()
        self.space: Mapping[str, BaseDistribution] = {}
        """The space now."""
        self.is_narrowed = False
        self._is_asked = False

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Show trials as samplers are to see them."""
        self._is_asked, self._view = True, None
        for study in self._studies.values():
            study.param_distribution.update(self.space)  # choices that are fewer than before are refused otherwise
        try:
            yield
        finally:
            self._is_asked, self._view = False, None

    def _note(self, trial: FrozenTrial) -> None:
        super()._note(trial)
        if not trial.state.is_finished():
            self._open.add(trial.number)
            return
        self._open.discard(trial.number)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            insort(self._ended, trial.number)
        if trial.state is TrialState.COMPLETE and trial.values is not None and len(trial.values) == 1:
            [direction], [value] = self._studies[0].directions, trial.values
            insort(self._best, (-value if direction.name == "MAXIMIZE" else value, trial.number))
            del self._best[BEST_SEEN:]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials, as Optuna asks for them."""
        is_long = self.most_seen is not None and len(self._ended) + len(self.paused) > self.most_seen
        is_as_it_is = not (self.paused or self.is_narrowed or is_long)
        if not self._is_asked or is_as_it_is or states == (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        if self._view is None:
            trials = super().get_all_trials(study_id, deepcopy=False)
            numbers = self._numbers_seen() if is_long else range(len(trials))
            self._view = [self._seen(trials[number]) for number in numbers]
        trials = copy.deepcopy(self._view) if deepcopy else self._view
        return [trial for trial in trials if states is None or trial.state in states]

    def _numbers_seen(self) -> list[int]:
        best = {number for _, number in self._best}
        latest = sorted([*self._ended[-(self.most_seen or 0) :], *self.paused])
        latest = latest[len(best) - (self.most_seen or 0) :]
        return sorted({*best, *latest, *(self._open - self.paused)})

    def _seen(self, trial: FrozenTrial) -> FrozenTrial:
        is_old = self.is_narrowed and bool(trial.params) and not self._is_of_this_space(trial)
        if trial.number not in self.paused and not is_old:
            return trial
        seen = copy.copy(trial)
        if trial.number in self.paused:
            seen.state = TrialState.PRUNED
        if is_old:
            if all(name in self.space and contains(self.space[name], value) for name, value in trial.params.items()):
                seen.distributions = {name: self.space[name] for name in trial.params}
                if not self._has_ranges_of_this_space(trial):
                    attributes = trial.system_attrs.items()
                    seen.system_attrs = {key: value for key, value in attributes if not key.startswith(OF_ITS_SPACE)}
            else:
                seen.state = TrialState.FAIL
        return seen

    def _is_of_this_space(self, trial: FrozenTrial) -> bool:
        return all(self.space.get(name) == distribution for name, distribution in trial.distributions.items())

    def _has_ranges_of_this_space(self, trial: FrozenTrial) -> bool:
        # CMA-ES knows no choices, and in the database a trial has all that there ever were.
        return all(
            self.space.get(name) == distribution or isinstance(distribution, CategoricalDistribution)
            for name, distribution in trial.distributions.items()
        )


def as_seen(frozen: FrozenTrial, worst: list[float] | None, *, is_infeasible: bool) -> FrozenTrial:
    """Return a trial of the database as samplers are to see it, with the `worst` values where it has to have some."""
    seen = copy.copy(frozen)
    seen.system_attrs = dict(frozen.system_attrs)
    if worst is not None:
        seen.state, seen.values = TrialState.COMPLETE, worst
    if worst is not None or not is_infeasible:
        # A verdict left by a driver that was killed while it told the trial, which then went on, counts no more.
        for key in [key for key in seen.system_attrs if key.endswith(f":{VERDICT}")]:
            del seen.system_attrs[key]
    return seen


def worst_values(study: Study) -> list[float] | None:
    """Return the worst values that any trial has in each objective; None where no trial has any."""
    values = [trial.values for trial in study.get_trials(deepcopy=False) if trial.values is not None]
    worst = [min if direction.name == "MAXIMIZE" else max for direction in study.directions]
    return [pick(column) for pick, column in zip(worst, zip(*values, strict=True), strict=True)] if values else None


def with_choices(trial: FrozenTrial, choices: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """Return a trial with all the choices that its parameters ever had: Optuna's databases take no others."""
    widened = copy.deepcopy(trial)
    widened.distributions = {name: choices.get(name, known) for name, known in trial.distributions.items()}
    return widened


def contains(distribution: BaseDistribution, value: object) -> bool:
    """Tell whether a distribution can give a value."""
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except ValueError:  # a choice that is none of this distribution's
        return False
