"""Where trials go on: after their latest evaluation, in the middle of an interval, or before a lost checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.checkpoints.retention import CHECKPOINTS_KEPT
from orchestrator.checkpoints.storage import CheckpointStorage
from orchestrator.trial import TrialRecord
from workloads.protocol import Progress


@dataclass(slots=True)
class Places:
    """The checkpoints that the trials of one sweep go on from, less those that no trial needs any more."""

    checkpoints: CheckpointStorage
    _rewound: dict[int, int] = field(default_factory=dict)
    """Evaluations to go on from, of trials whose later checkpoints were lost; these are trained again, not counted."""
    part_way: dict[int, str] = field(default_factory=dict)
    """Checkpoints in the middle of an interval to go on from, of trials that had to leave their machine."""

    def due(self, trial: TrialRecord) -> int:
        """Return the evaluation that a trial makes next."""
        return self._rewound.get(trial.number, len(trial.evaluations))

    def checkpoint(self, trial: TrialRecord) -> str | None:
        """Return what a trial goes on from; None where it begins."""
        due = self.due(trial)
        return self.part_way.get(trial.number) or (trial.evaluations[due - 1].checkpoint if due else None)

    def move(self, trial: TrialRecord, checkpoint: str | None) -> None:
        """Let a trial go on from where it left its machine, if that is behind what is known of it."""
        known = {progress.checkpoint for progress in trial.evaluations} | {self.part_way.get(trial.number)}
        if checkpoint is not None and checkpoint not in known:
            self.drop_part_way(trial)
            self.part_way[trial.number] = checkpoint

    def drop_part_way(self, trial: TrialRecord | None = None) -> None:
        """Remove the checkpoint that a trial made in the middle of an interval, or those of all trials."""
        for number in list(self.part_way) if trial is None else [trial.number]:
            if (checkpoint := self.part_way.pop(number, None)) is not None:
                self.checkpoints.delete(checkpoint)

    def step_back(self, trial: TrialRecord) -> str | None:
        """Let a trial go on from the checkpoint before the one that is lost, or else from the beginning.

        Returns what is to be said of it; None where there is nothing before.
        """
        if trial.number in self.part_way:  # the evaluation before it may be whole
            self.drop_part_way(trial)
            return ""
        due = self.due(trial)
        if due == 0:
            return None
        kept = len(trial.evaluations) - CHECKPOINTS_KEPT
        self._rewound[trial.number] = due - 1 if due - 1 > kept else 0
        return f"; training again from {self._rewound[trial.number]}"

    def caught_up(self, trial: TrialRecord, progress: Progress, lost: str) -> None:
        """Go on after an evaluation that was made again, whose checkpoint takes the place of the `lost` one."""
        self.drop_part_way(trial)
        self.checkpoints.delete(lost)  # torn or altered, it may still be there
        if progress.evaluation >= CHECKPOINTS_KEPT:
            self.checkpoints.delete(trial.evaluations[progress.evaluation - CHECKPOINTS_KEPT].checkpoint)
        self._rewound[trial.number] = progress.evaluation + 1
        if self._rewound[trial.number] == len(trial.evaluations):
            del self._rewound[trial.number]

    def drop_old(self, trial: TrialRecord) -> None:
        """Remove the checkpoint that the latest evaluation makes needless."""
        if len(trial.evaluations) > CHECKPOINTS_KEPT:
            self.checkpoints.delete(trial.evaluations[-1 - CHECKPOINTS_KEPT].checkpoint)
