"""The worker: holds the generator of the trial it trains, and returns its next Progress when asked.

It knows no Ray: the executors make it an actor, or call it as it is. Nothing happens in `__init__`, since an
exception there would look like a dead node.
"""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Iterator
from typing import Any

import workloads
from orchestrator.checkpoints import CheckpointStorage
from orchestrator.secrets import remember_url
from orchestrator.trial import (
    Assignment,
    CheckpointLost,
    Failure,
    Finished,
    Job,
    Reply,
    StorageFault,
    TrialState,
)
from workloads.protocol import Diverged, Progress, UnusableCheckpoint


class Worker:
    """Trains one trial at a time, trial after trial."""

    def __init__(self) -> None:
        self._job: Job | None = None
        self._trial: Iterator[Progress] | None = None

    def prepare(self, job: Job) -> None:
        """Take over what is the same for all trials of a sweep."""
        self._job = job
        remember_url(job.checkpoints)
        import torch

        torch.set_num_threads(max(math.floor(job.cpus), 1))

    def start(self, assignment: Assignment) -> Reply:
        """Begin or resume a trial and train to its next evaluation."""
        self.release()
        try:
            self._trial = self._open(assignment)
        except Exception as error:  # noqa: BLE001 - the worker's boundary
            return explain(error)
        return self.advance()

    def _open(self, assignment: Assignment) -> Iterator[Progress]:
        if self._job is None:
            raise RuntimeError("prepare() comes before start()")
        workload = workloads.load(self._job.kind, self._job.options)
        storage = WatchedStorage(CheckpointStorage(self._job.checkpoints), f"trial-{assignment.number:05d}")
        return workload.train(assignment.params, self._job.dataset, storage, assignment.resume_from)

    def advance(self) -> Reply:
        """Train the trial at hand to its next evaluation."""
        if self._trial is None:
            return Failure(TrialState.FAILED, "the worker was asked to advance no trial")
        try:
            progress = next(self._trial, None)
            return Finished() if progress is None else plain(progress)
        except Exception as error:  # noqa: BLE001 - the worker's boundary
            return explain(error)

    def release(self) -> None:
        """Let go of the trial at hand and of the device memory it took."""
        if self._trial is None:
            return
        close: Any = getattr(self._trial, "close", None)
        if close is not None:
            with contextlib.suppress(Exception):  # a fault of the trial that is given up says nothing of the next one
                close()
        self._trial = None
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class StorageFailed(Exception):
    """Checkpoints cannot be written or read: a fault of the machine, not of the trial that met it."""


class WatchedStorage:
    """One trial's part of the checkpoint storage, which tells its own faults from those of the training."""

    def __init__(self, whole: CheckpointStorage, trial: str) -> None:
        self._whole, self._storage = whole, whole.within(trial)

    def write(self, name: str, content: bytes) -> str:
        """Store; StorageFailed where that cannot be."""
        try:
            return self._storage.write(name, content)
        except OSError as error:
            raise StorageFailed(f"{name} cannot be written: {error}") from error

    def read(self, uri: str) -> bytes:
        """Return what was stored; UnusableCheckpoint where it alone is gone, StorageFailed where all may be."""
        try:
            return self._storage.read(uri)
        except FileNotFoundError as error:
            if self._whole.is_there():
                raise UnusableCheckpoint(f"{uri} is gone") from error
            raise StorageFailed(
                f"{self._whole.folder} is not there; mount it, or make it anew to do without"
            ) from error
        except (OSError, ValueError) as error:
            raise StorageFailed(f"{uri} cannot be read: {error}") from error


def plain(progress: Progress) -> Progress:
    """Return a Progress of plain numbers, whatever a workload of the user's made it of."""
    return Progress(
        int(progress.evaluation),
        int(progress.sequence_steps),
        {str(name): float(value) for name, value in progress.metrics.items()},
        str(progress.checkpoint),
        float(progress.time),
    )


def explain(error: Exception) -> Failure | StorageFault | CheckpointLost:
    """Sort what went wrong in a trial by what it means for the sweep."""
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0][:500]
    text = "".join(traceback.format_exception(error))
    if isinstance(error, StorageFailed):
        return StorageFault(first_line)
    if isinstance(error, UnusableCheckpoint):
        return CheckpointLost(first_line)
    if isinstance(error, Diverged):
        return Failure(TrialState.DIVERGED, first_line)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _is_allocation(error):
        return Failure(TrialState.OUT_OF_MEMORY, first_line, text)
    return Failure(TrialState.FAILED, f"{type(error).__name__}: {first_line}", text)


def _is_allocation(error: Exception) -> bool:
    # torch raises a bare RuntimeError where the CPU has no memory left.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
