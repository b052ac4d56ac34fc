"""The worker: holds the generator of the trial it trains, and returns its next Progress when asked.

It knows no Ray: the executors make it an actor, or call it as it is. Nothing happens in `__init__`, since an
exception there would look like a dead node.
"""

from __future__ import annotations

import contextlib
import gc
import math
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import workloads
from orchestrator.checkpoints.storage import CheckpointStorage
from orchestrator.machine import own_memory_here
from orchestrator.secrets import remember_url
from orchestrator.trial import (
    Assignment,
    CheckpointLost,
    Failure,
    Finished,
    Job,
    Moved,
    Reply,
    StorageFault,
    TrialState,
)
from workloads.heap import hold_tensors_apart
from workloads.protocol import Diverged, Left, Progress, UnusableCheckpoint

LEFTOVER_BYTES = 64 * 2**20
"""GPU memory that a trial may leave behind in its process: cuBLAS and cuDNN keep some to work with."""
LOOK_S = 0.1
"""Between two looks at how much memory this process takes."""


class Worker:
    """Trains one trial at a time, trial after trial."""

    def __init__(self) -> None:
        self._job: Job | None = None
        self._trial: Iterator[Progress] | None = None
        self._checkpoint: str | None = None
        self._gpu_bytes: int | None = None
        self._leaving = threading.Event()
        self._memory: MemoryWatch | None = None

    def prepare(self, job: Job) -> None:
        """Take over what is the same for all trials of a sweep."""
        self._job = job
        remember_url(job.checkpoints)
        hold_tensors_apart()
        import torch

        torch.set_num_threads(max(math.floor(job.cpus), 1))
        if job.memory_gb is not None and self._memory is None:
            self._memory = MemoryWatch(job.memory_gb)
            self._memory.start()

    def leave(self) -> None:
        """Ask, from whatever thread or signal, that the trial at hand leave this process at its next update."""
        self._leaving.set()

    def start(self, assignment: Assignment) -> Reply:
        """Begin or resume a trial and train to its next evaluation."""
        self.release()
        self._checkpoint = assignment.resume_from
        try:
            self._trial = self._open(assignment)
        except Exception as error:  # noqa: BLE001 - the worker's boundary
            return explain(error)
        return self.advance()

    def _open(self, assignment: Assignment) -> Iterator[Progress]:
        if self._job is None:
            raise RuntimeError("prepare() comes before start()")
        workload = workloads.load(self._job.kind, self._job.options)
        storage = WatchedStorage(
            CheckpointStorage(self._job.checkpoints), f"trial-{assignment.number:05d}", leaving=self._is_to_leave
        )
        return workload.train(assignment.params, self._job.dataset, storage, assignment.resume_from)

    def _is_to_leave(self) -> bool:
        if self._memory is not None:
            self._memory.check()
        return self._leaving.is_set()

    def advance(self) -> Reply:
        """Train the trial at hand to its next evaluation."""
        if self._trial is None:
            return Failure(TrialState.FAILED, "the worker was asked to advance no trial")
        if self._leaving.is_set():
            return Moved(self._checkpoint)  # what was acknowledged last is a checkpoint already
        try:
            progress = next(self._trial, None)
            if self._memory is not None:
                self._memory.check()
        except Exception as error:  # noqa: BLE001 - the worker's boundary
            return explain(error)
        if progress is None:
            return Finished()
        self._checkpoint = progress.checkpoint
        return plain(progress)

    def release(self) -> str:
        """Let go of the trial at hand and of the device memory it took; return why no other should be trained here."""
        if self._trial is not None:
            close: Any = getattr(self._trial, "close", None)
            if close is not None:
                with contextlib.suppress(Exception):  # a fault of the trial given up says nothing of the next one
                    close()
            self._trial = None
        if self._memory is not None:
            self._memory.forget()
        return self._free_gpu()

    def _free_gpu(self) -> str:
        if self._job is None or not self._job.gpus:
            return ""
        import torch  # not before: an interrupt may have cut its first import off, and a second one would abort

        if not torch.cuda.is_available():
            return ""
        gc.collect()  # a generator that failed stands in a cycle with its own traceback
        torch.cuda.empty_cache()
        taken = torch.cuda.memory_allocated()
        if self._gpu_bytes is None:
            self._gpu_bytes = taken  # before the first trial
        left = taken - self._gpu_bytes
        return f"{left / 1e6:.0f} MB of GPU memory were left behind by a trial" if left > LEFTOVER_BYTES else ""


class MemoryWatch(threading.Thread):
    """Looks at the memory of this process every moment; what it saw is heard between two updates.

    What is counted is resident and the process's own: the data that workers share and files mapped are not. A limit set
    with the system (`setrlimit`) would count what was only reserved, and its errors come up in threads that are Ray's.
    """

    def __init__(self, limit_gb: float) -> None:
        super().__init__(name="memory", daemon=True)
        self.limit_gb = limit_gb
        self.most_bytes = 0.0

    def run(self) -> None:
        """Look until the process ends."""
        while True:
            self.most_bytes = max(self.most_bytes, own_memory_here() or 0.0)
            time.sleep(LOOK_S)

    def check(self) -> None:
        """Raise MemoryError where more was taken than is allowed."""
        if self.most_bytes > self.limit_gb * 1e9:
            taken = f"{self.most_bytes / 1e9:.2f} GB taken"
            raise MemoryError(f"{taken}, {self.limit_gb:g} GB allowed by resources.memory_gb")

    def forget(self) -> None:
        """Begin anew, for the next trial."""
        self.most_bytes = 0.0


class StorageFailed(Exception):
    """Checkpoints cannot be written or read: a fault of the machine, not of the trial that met it."""


class WatchedStorage:
    """One trial's part of the checkpoint storage, which tells its own faults from those of the training."""

    def __init__(self, whole: CheckpointStorage, trial: str, *, leaving: Callable[[], bool] = lambda: False) -> None:
        self._whole, self._storage = whole, whole.within(trial)
        self.leaving = leaving
        """Tells between two updates whether to leave this process; see `workloads.protocol.Storage`."""

    def write(self, name: str, content: bytes) -> str:
        """Store; StorageFailed where that cannot be."""
        try:
            return self._storage.write(name, content)
        except OSError as error:
            raise StorageFailed(f"{name} cannot be written: {error}") from error

    def read(self, uri: str) -> bytes:
        """Return what was stored; UnusableCheckpoint where it is gone or altered, StorageFailed where all may be."""
        try:
            return self._storage.read(uri)
        except UnusableCheckpoint:
            raise
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


def explain(error: Exception) -> Failure | StorageFault | CheckpointLost | Moved:
    """Sort what went wrong in a trial by what it means for the sweep."""
    if isinstance(error, Left):
        return Moved(str(error.checkpoint))
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
