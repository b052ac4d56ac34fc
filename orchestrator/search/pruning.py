"""Pruning where a sweep has two objectives: by the first of them alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.search.by_name import make_pruner
from orchestrator.spec import SweepSpec

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial, TrialState


class FirstObjective:
    """A study in memory that knows of every trial its quality alone, which Optuna's pruners can judge by.

    They refuse a study of two objectives (optuna#3450). Here the trials have the same numbers as there, and the study
    the same name, since Hyperband draws a trial's bracket from both.
    """

    def __init__(self, spec: SweepSpec) -> None:
        import optuna

        from orchestrator.search.memory import StudyInMemory

        self._storage = StudyInMemory()
        self._study = optuna.create_study(
            study_name=spec.name,
            storage=self._storage,
            direction=spec.objective.direction or "minimize",
            # Never asked for a setting: what it judges has one.
            sampler=optuna.samplers.RandomSampler(),
            pruner=make_pruner(spec),
        )

    def enter(self, frozen: FrozenTrial) -> Trial:
        """Add a trial as it stands; return what it reports to."""
        import optuna

        seen = copy.deepcopy(frozen)
        seen.values = frozen.values[:1] if frozen.values else None
        study = self._storage.get_study_id_from_name(self._study.study_name)
        return optuna.trial.Trial(self._study, self._storage.create_new_trial(study, template_trial=seen))

    def tell(self, trial: Trial, values: Sequence[float] | None, *, state: TrialState) -> None:
        """End a trial with the first of its values."""
        self._study.tell(trial, None if values is None else values[0], state=state)
