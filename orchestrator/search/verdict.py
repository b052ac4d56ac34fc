"""Why Optuna's pruner would not go on with a trial, in words.

A pruner answers yes or no. Asked for its reason at once afterwards, the study is as the pruner saw it, so the figures
it compared are found there again; where they would not have led to its answer, no reason is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.wording import number

if TYPE_CHECKING:
    from optuna.pruners import BasePruner, HyperbandPruner, PatientPruner, PercentilePruner
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

RUNG = "completed_rung_"
"""What successive halving notes of a trial: its value on each rung that it came to."""


def verdict(trial: Trial, *, reached: str) -> str:
    """Return why a trial was just pruned, after so many evaluations (`reached`, in words); empty where it is not known.

    As in: its best after 3 of 9 evaluations, 0.9200, is worse than the median of 5 trials, 0.7100.
    """
    try:
        frozen = trial.storage.get_trial(trial._trial_id)
        return _Judge(trial.study, frozen, reached).says(trial.study.pruner)
    except AttributeError:  # pruners keep their settings to themselves, and a later Optuna may name them otherwise
        return ""


class _Judge:
    """Compares as the pruners do, and says what it found."""

    def __init__(self, study: Study, trial: FrozenTrial, reached: str) -> None:
        self.study, self.trial, self.reached = study, trial, reached
        self.is_maximized = study.direction.name == "MAXIMIZE"

    def says(self, pruner: BasePruner) -> str:
        from optuna import pruners

        match pruner:
            case pruners.PercentilePruner():
                return self.of_percentile(pruner)
            case pruners.PatientPruner():
                return self.of_patience(pruner)
            case pruners.HyperbandPruner():
                return self.of_bracket(pruner)
            case pruners.SuccessiveHalvingPruner():
                return self.of_rung(self.study.get_trials(deepcopy=False), pruner._reduction_factor)
            case _:
                return ""

    def of_percentile(self, pruner: PercentilePruner) -> str:
        from orchestrator.search.memory import reported_at

        step = self.trial.last_step
        values = reported_at(self.study, step)
        if not values.size:
            return ""
        share = pruner._percentile
        limit = float(np.percentile(values, 100 - share if self.is_maximized else share))
        reported = self.trial.intermediate_values.values()
        best = max(reported) if self.is_maximized else min(reported)
        if not self.is_worse(best, limit):
            return ""
        trials = f"{len(values)} trials, {number(limit)}"
        worse = f"worse than the median of {trials}" if share == 50 else f"not among the best {share:g} % of {trials}"
        return f"its best after {self.reached}, {number(best)}, is {worse}{'' if share == 50 else ' or better'}"

    def of_patience(self, pruner: PatientPruner) -> str:
        wrapped = pruner._wrapped_pruner
        worse = "" if wrapped is None else self.says(wrapped)
        return f"no better for {pruner._patience + 1} evaluations, and {worse}" if worse else ""

    def of_bracket(self, pruner: HyperbandPruner) -> str:
        bracket = pruner._get_bracket_id(self.study, self.trial)
        beside = pruner._create_bracket_study(self.study, bracket).get_trials(deepcopy=False)
        return self.of_rung(beside, pruner._reduction_factor, where=" of its bracket")

    def of_rung(self, trials: Sequence[FrozenTrial], reduction: int, where: str = "") -> str:
        """Compare with the trials that came to the highest rung this one came to, itself among them."""
        rungs = [int(key.removeprefix(RUNG)) for key in self.trial.system_attrs if key.startswith(RUNG)]
        key = f"{RUNG}{max(rungs, default=0)}"
        value = self.trial.system_attrs.get(key, math.nan)
        there = sorted(
            (other.system_attrs[key] for other in trials if key in other.system_attrs), reverse=self.is_maximized
        )
        best = there[: max(len(there) // reduction, 1)]
        if not best or not self.is_worse(value, best[-1]):
            return ""
        places = "the best" if len(best) == 1 else f"among the best {len(best)}"
        return (
            f"{number(value)} after {self.reached} is not {places} of the {len(there)} trials{where} that came so far, "
            f"{number(best[-1])}{'' if len(best) == 1 else ' or better'}"
        )

    def is_worse(self, value: float, limit: float) -> bool:
        return value < limit if self.is_maximized else value > limit
