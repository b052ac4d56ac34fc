"""The worker: sorts what goes wrong, and lets go of what it held."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
import torch

import workloads
from orchestrator.trial import Assignment, CheckpointLost, Failure, Finished, Job, StorageFault, TrialState
from orchestrator.worker import Worker, explain
from tests.fakes import KIND, Scripted
from workloads.protocol import Diverged, Progress


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
