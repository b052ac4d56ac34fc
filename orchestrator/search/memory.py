"""Optuna's study in memory, where what is asked for again and again need not be looked for among all trials."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from optuna.study import Study


class StudyInMemory(InMemoryStorage):
    """A study that counts its complete trials as they come, by what they had reported at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.complete = 0
        self.reported: defaultdict[int, array[float]] = defaultdict(lambda: array("d"))
        """Values of complete trials by step."""

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Add a trial, which may have ended already."""
        trial_id = super().create_new_trial(study_id, template_trial)
        self._note(self.get_trial(trial_id))
        return trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Change the state of a trial."""
        is_done = super().set_trial_state_values(trial_id, state, values)
        self._note(self.get_trial(trial_id))
        return is_done

    def _note(self, trial: FrozenTrial) -> None:
        """Take note of a trial's state, which is new."""
        if trial.state is TrialState.COMPLETE:
            self.complete += 1
            for step, value in trial.intermediate_values.items():
                self.reported[step].append(value)


def reported_at(study: Study, step: int | None) -> np.ndarray:
    """Return what the complete trials of a study had reported at a step: (trials,), in no order."""
    storage = study._storage
    if isinstance(storage, StudyInMemory):
        return np.array(storage.reported.get(step, ()) if step is not None else ())
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return np.array([trial.intermediate_values[step] for trial in complete if step in trial.intermediate_values])
