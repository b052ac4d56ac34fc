"""Optuna's pruners, kept from looking through all trials at each evaluation: what they say is the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.pruners import HyperbandPruner, PercentilePruner

from orchestrator.search.memory import StudyInMemory, reported_at

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


class KeptPercentilePruner(PercentilePruner):
    """Prunes a trial whose best value so far is worse than a percentile of the complete trials' values at its step.

    The study's storage has those values by step. Steps are reported in order, one after the other.
    """

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Tell whether the trial is not worth going on with."""
        storage, step = study._storage, trial.last_step
        if not isinstance(storage, StudyInMemory):
            return super().prune(study, trial)
        if step is None or step < self._n_warmup_steps or storage.complete < max(self._n_startup_trials, 1):
            return False
        there = reported_at(study, step)
        if not there.size:
            return False
        is_maximized = study.direction.name == "MAXIMIZE"
        reported = trial.intermediate_values.values()
        limit = np.percentile(there, 100 - self._percentile if is_maximized else self._percentile)
        return bool(max(reported) < limit if is_maximized else min(reported) > limit)


class KeptHyperbandPruner(HyperbandPruner):
    """Knows the brackets of the trials that it has seen."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._brackets: dict[int, int] = {}

    def _get_bracket_id(self, study: Study, trial: FrozenTrial) -> int:
        bracket = self._brackets.get(trial.number)
        if bracket is None:
            bracket = super()._get_bracket_id(study, trial)
            if self._pruners:  # before there are any, all are in the first
                self._brackets[trial.number] = bracket
        return bracket
