"""The worker: sorts what goes wrong, and lets go of what it held."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
import torch

import workloads
from orchestrator import worker as worker_module
from orchestrator.machine import own_memory_here
from orchestrator.trial import Assignment, CheckpointLost, Failure, Finished, Job, Moved, StorageFault, TrialState
from orchestrator.worker import Worker, explain
from tests.fakes import KIND, Scripted
from workloads.protocol import Diverged, Left, Progress


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    made = Worker()
    made.prepare(Job("test", KIND, {}, Scripted().prepare(), tmp_path.as_uri(), cpus=2.5))
    return made


def assignment(**params: Any) -> Assignment:
    return Assignment(3, {"quality": 1.0, "evaluations": 2, "sequence_steps": 2000, **params})


def test_it_trains_to_the_next_evaluation_when_asked(worker: Worker, tmp_path: Path) -> None:
    first = worker.start(assignment())
    assert isinstance(first, Progress)
    assert first.checkpoint.startswith(f"{tmp_path.as_uri()}/trial-00003/")
    assert isinstance(worker.advance(), Progress)
    assert worker.advance() == Finished()


def test_cpu_threads_follow_the_cpus_it_was_given(worker: Worker) -> None:
    assert torch.get_num_threads() == 2


def test_without_a_trial_it_says_so(worker: Worker) -> None:
    worker.start(assignment())
    worker.release()
    worker.release()
    reply = worker.advance()
    assert isinstance(reply, Failure)
    assert "no trial" in reply.reason


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (Diverged("loss became nan"), TrialState.DIVERGED, "loss became nan"),
        (MemoryError(), TrialState.OUT_OF_MEMORY, "MemoryError"),
        (torch.OutOfMemoryError("CUDA out of memory\nmore"), TrialState.OUT_OF_MEMORY, "CUDA out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), TrialState.OUT_OF_MEMORY, "DefaultCPUAllocator"),
        (RuntimeError("shapes differ"), TrialState.FAILED, "RuntimeError: shapes differ"),
        (ValueError("x" * 9000), TrialState.FAILED, "ValueError: xxx"),
    ],
)
def test_what_goes_wrong_is_sorted_by_what_it_means(error: Exception, state: TrialState, reason: str) -> None:
    failure = explain(error)
    assert isinstance(failure, Failure)
    assert failure.state is state
    assert failure.reason.startswith(reason)
    assert "\n" not in failure.reason
    assert len(failure.reason) < 600


def test_a_tensor_too_large_for_the_machine_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58)
    failure = explain(caught.value)
    assert isinstance(failure, Failure)
    assert failure.state is TrialState.OUT_OF_MEMORY


def test_a_checkpoint_that_is_gone_is_no_fault_of_the_trial(worker: Worker, tmp_path: Path) -> None:
    gone = Assignment(3, assignment().params, f"{tmp_path.as_uri()}/trial-00003/gone")
    reply = worker.start(gone)
    assert isinstance(reply, CheckpointLost)
    assert "is gone" in reply.reason
    assert isinstance(worker.start(assignment()), Progress)


def test_storage_that_is_not_there_at_all_is_a_fault_of_the_machine(worker: Worker, tmp_path: Path) -> None:
    tmp_path.rename(tmp_path.with_name("unmounted"))
    reply = worker.start(Assignment(3, assignment().params, f"{tmp_path.as_uri()}/trial-00003/gone"))
    assert isinstance(reply, StorageFault)
    assert "mount it" in reply.reason


@pytest.mark.parametrize("length", [0, 100, -100])
def test_a_torn_checkpoint_is_a_lost_one(length: int, text_file: Path, tmp_path: Path) -> None:
    options = {"text": str(text_file)}
    dataset = workloads.load("language_model", options).prepare()
    worker = Worker()
    worker.prepare(Job("test", "language_model", options, dataset, tmp_path.as_uri()))
    params = {"hidden_size": 4, "batch_size": 2, "sequence_steps": 400, "evaluations": 2}
    first = worker.start(Assignment(0, params))
    assert isinstance(first, Progress)
    path = Path(url2pathname(urlsplit(first.checkpoint).path))
    path.write_bytes(path.read_bytes()[:length])
    reply = worker.start(Assignment(0, params, first.checkpoint))
    assert isinstance(reply, CheckpointLost)
    assert "not a whole checkpoint" in reply.reason


def text_worker(text_file: Path, folder: Path, **changes: Any) -> Worker:
    options = {"text": str(text_file)}
    made = Worker()
    dataset = workloads.load("language_model", options).prepare()
    made.prepare(Job("test", "language_model", options, dataset, folder.as_uri(), **changes))
    return made


SMALL_TEXT = {"hidden_size": 4, "batch_size": 2, "truncation_length": 8, "sequence_steps": 800, "evaluations": 2}


def test_a_trial_asked_to_leave_says_where_to_go_on_from(text_file: Path, tmp_path: Path) -> None:
    worker = text_worker(text_file, tmp_path)
    first = worker.start(Assignment(0, SMALL_TEXT))
    assert isinstance(first, Progress)
    worker.leave()
    assert worker.advance() == Moved(first.checkpoint)
    assert worker.start(Assignment(1, SMALL_TEXT)) == Moved(None)
    left = explain(Left("file:///here"))
    assert left == Moved("file:///here")


class Cuda:
    """Stands in for `torch.cuda`: so many bytes are taken, and some of them stay."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes, self.emptied = 10**9, 0
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: self.bytes)
        monkeypatch.setattr(torch.cuda, "empty_cache", self.empty)

    def empty(self) -> None:
        self.emptied += 1


def test_gpu_memory_that_a_trial_leaves_behind_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda(monkeypatch)
    worker = Worker()
    worker.prepare(Job("test", KIND, {}, Scripted().prepare(), tmp_path.as_uri(), gpus=1.0))
    worker.start(assignment())
    cuda.bytes += 10 * 2**20
    assert worker.release() == ""  # libraries keep some to work with
    worker.start(assignment())
    cuda.bytes += 500 * 10**6
    assert worker.release() == "510 MB of GPU memory were left behind by a trial"
    cuda.bytes -= 500 * 10**6
    assert worker.release() == ""
    assert cuda.emptied >= 4


def test_a_trial_above_its_memory_ends_as_out_of_memory_and_the_next_begins_anew(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = [0.3e9]
    monkeypatch.setattr(worker_module, "own_memory_here", lambda: taken[0])
    monkeypatch.setattr(worker_module, "LOOK_S", 0.005)
    worker = text_worker(text_file, tmp_path, memory_gb=0.5)
    assert isinstance(worker.start(Assignment(0, SMALL_TEXT)), Progress)
    taken[0] = 0.7e9
    failure = worker.start(Assignment(1, {**SMALL_TEXT, "sequence_steps": 800_000}))
    assert isinstance(failure, Failure)
    assert failure.state is TrialState.OUT_OF_MEMORY
    assert failure.reason == "0.70 GB taken, 0.5 GB allowed by resources.memory_gb"
    taken[0] = 0.3e9
    time.sleep(0.1)
    assert isinstance(worker.start(Assignment(2, SMALL_TEXT)), Progress)


def test_memory_that_a_process_takes_for_itself_is_seen() -> None:
    before = own_memory_here()
    if before is None:
        pytest.skip("this system does not say")
    held = bytearray(os.urandom(2**20)) * 100
    after = own_memory_here()
    assert after is not None
    assert 0.8 < (after - before) / len(held) < 1.5
