"""The folder that `bptt train` writes: what was trained, every evaluation, and checkpoints that predict.

model.json          the workload's kind and options, the hyperparameters, the data's fingerprint and baselines
evaluations.jsonl   a line for each evaluation, written once its checkpoint is
*.ckpt              the last evaluation's, to go on from, and the best one's
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import workloads
from orchestrator.checkpoints.storage import CheckpointStorage, unseal
from orchestrator.errors import UserError
from workloads.protocol import Dataset, Predictor, Progress, Workload

MODEL = "model.json"
EVALUATIONS = "evaluations.jsonl"


@dataclass(frozen=True, slots=True)
class TrainedFolder:
    """One run of `bptt train`, under way or done."""

    path: Path
    kind: str
    options: Mapping[str, Any]
    hyperparameters: Mapping[str, Any]
    fingerprint: str
    baselines: Mapping[str, float]

    @classmethod
    def create(
        cls, path: Path, kind: str, *, options: Mapping[str, Any], hyperparameters: Mapping[str, Any], dataset: Dataset
    ) -> TrainedFolder:
        """Begin a run in a folder that holds none yet; UserError where it does or cannot be written."""
        if (path / MODEL).exists():
            raise UserError(f"--out: {path} holds a run already; add --resume to go on with it, or choose another")
        folder = cls(path, kind, options, hyperparameters, dataset.fingerprint, dict(dataset.baselines))
        content = {name: value for name, value in asdict(folder).items() if name != "path"}
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / MODEL).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"--out: {path} cannot be written: {error.strerror}") from error
        return folder

    @classmethod
    def open(cls, path: Path) -> TrainedFolder:
        """Read the run in a folder; UserError where there is none."""
        try:
            return cls(path, **json.loads((path / MODEL).read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise UserError(f"{path} holds no run of `bptt train`: there is no {MODEL} in it") from error
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path / MODEL} cannot be read: {error}") from error

    @property
    def storage(self) -> CheckpointStorage:
        """Return where the checkpoints go."""
        return CheckpointStorage(self.path.absolute().as_uri())

    def workload(self) -> Workload:
        """Return the workload trained; UserError where it can no longer be had."""
        try:
            return workloads.load(self.kind, self.options)
        except ValueError as error:
            raise UserError(f"{self.path / MODEL}: {error}") from error

    def evaluations(self) -> list[Progress]:
        """Return what was evaluated so far. A last line that a kill tore is as good as not written."""
        try:
            lines = (self.path / EVALUATIONS).read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [Progress(**json.loads(line)) for line in lines if line.endswith(b"\n")]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from training in this folder; UserError where one does."""
        with (self.path / MODEL).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"--out: another process trains in {self.path}") from error
            yield

    def begin(self) -> list[Progress]:
        """Return the evaluations so far, a line that a kill tore removed."""
        file = self.path / EVALUATIONS
        if file.exists():
            os.truncate(file, file.read_bytes().rfind(b"\n") + 1)
        return self.evaluations()

    def record(self, evaluations: list[Progress]) -> None:
        """Write down the latest of `evaluations`, and drop the checkpoints that nobody needs any more."""
        with (self.path / EVALUATIONS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(evaluations[-1])) + "\n")
        self._keep(evaluations)

    def _keep(self, evaluations: list[Progress]) -> None:
        kept = {self.checkpoint(progress) for progress in (self.best(evaluations), *evaluations[-1:]) if progress}
        for progress in evaluations:
            if self.checkpoint(progress) not in kept:
                self.checkpoint(progress).unlink(missing_ok=True)

    def best(self, evaluations: list[Progress]) -> Progress | None:
        """Return the best evaluation by the workload's first objective."""
        metric, direction = next(iter(self.workload().objectives.items()))
        sign = 1 if direction == "minimize" else -1
        return min(evaluations, key=lambda progress: sign * progress.metrics[metric], default=None)

    def checkpoint(self, progress: Progress) -> Path:
        """Return the file of an evaluation's checkpoint; the folder may have been moved since."""
        return self.path / Path(progress.checkpoint).name

    def uri(self, progress: Progress) -> str:
        """Return the checkpoint as the storage knows it."""
        return f"{self.storage.folder}/{self.checkpoint(progress).name}"

    def predictor(self, checkpoint: Path | None = None) -> Predictor:
        """Return the model in `checkpoint`, or in the best one; UserError where it cannot be read."""
        if checkpoint is None:
            best = self.best(self.evaluations())
            if best is None:
                raise UserError(f"{self.path} has no checkpoint yet; go on with `bptt train --resume`")
            checkpoint = self.checkpoint(best)
        try:
            return self.workload().predictor(unseal(checkpoint.read_bytes(), checkpoint.name))
        except OSError as error:
            raise UserError(f"{checkpoint} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"{checkpoint}: {error}") from error


def shown(path: Path) -> Path:
    """Return a path as people would type it: from the current folder on, where it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
