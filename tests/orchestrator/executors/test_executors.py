"""One contract, every executor: the sweep loop must not be able to tell them apart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import BpttError, UserError
from orchestrator.executors import make_executor, measuring
from orchestrator.executors import ray as ray_executor
from orchestrator.executors.base import Executor
from orchestrator.executors.ray import RayExecutor, RemoteWorker
from orchestrator.trial import Assignment, Failure, Finished, Job, Reply, TrialState
from tests.fakes import KIND, Scripted
from workloads.protocol import Progress


def job(tmp_path: Path, **options: Any) -> Job:
    workload = Scripted(**options)
    folder = (tmp_path / "checkpoints").as_uri()
    return Job("test", KIND, options, workload.prepare(), folder, cpus=1.0)


@pytest.fixture(params=["local", "ray"])
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Executor]:
    made = make_executor(workers=2, in_process=request.param == "local")
    made.open(job(tmp_path))
    yield made
    made.close()


def params(**changes: Any) -> dict[str, Any]:
    return {"quality": 1.0, "evaluations": 3, "sequence_steps": 3000, **changes}


def until_ready(executor: Executor, slots: int) -> None:
    end = time.monotonic() + 60
    while executor.slots < slots and time.monotonic() < end:
        assert executor.wait(0.1) == []
    assert executor.slots == slots


def collect(executor: Executor, count: int, timeout_s: float = 60) -> list[tuple[int, Reply]]:
    replies: list[tuple[int, Reply]] = []
    end = time.monotonic() + timeout_s
    while len(replies) < count and time.monotonic() < end:
        replies += executor.wait(0.5)
    assert len(replies) == count
    return sorted(replies, key=lambda reply: reply[0])


def test_the_contract(executor: Executor) -> None:
    """One test for all of it, since starting Ray takes seconds."""
    until_ready(executor, 2)
    assert executor.wait(0.01) == []

    # Two trials at once, each advanced when asked and not before.
    executor.start(Assignment(0, params(quality=0.5)))
    executor.start(Assignment(1, params(quality=2.0)))
    with pytest.raises(RuntimeError, match="no slot is free"):
        executor.start(Assignment(2, params()))
    (_, first), (_, second) = collect(executor, 2)
    assert isinstance(first, Progress)
    assert isinstance(second, Progress)
    assert (first.evaluation, first.metrics["valid_loss"], second.metrics["valid_loss"]) == (0, 0.5, 2.0)
    assert executor.wait(0.2) == []
    executor.advance(0)
    [(number, reply)] = collect(executor, 1)
    assert isinstance(reply, Progress)
    assert (number, reply.evaluation) == (0, 1)

    # A trial given up frees its slot for the next, which resumes from a checkpoint.
    executor.release(0)
    executor.start(Assignment(0, params(quality=0.5), reply.checkpoint))
    [(number, resumed)] = collect(executor, 1)
    assert isinstance(resumed, Progress)
    assert (number, resumed.evaluation) == (0, 2)
    executor.advance(0)
    assert collect(executor, 1) == [(0, Finished())]
    executor.release(0)
    executor.release(1)

    # What goes wrong in a trial is an answer like any other, and the worker lives on.
    for fate, state in (
        ("diverge", TrialState.DIVERGED),
        ("memory", TrialState.OUT_OF_MEMORY),
        ("raise", TrialState.FAILED),
    ):
        executor.start(Assignment(3, params(fate=fate, at=0)))
        [(_, failure)] = collect(executor, 1)
        assert isinstance(failure, Failure)
        assert failure.state is state
        assert "Traceback" in failure.traceback or state is TrialState.DIVERGED
        executor.release(3)

    # A trial given up in the middle of an evaluation is not heard of again.
    executor.start(Assignment(4, params()))
    executor.release(4)
    until_ready(executor, 2)
    executor.start(Assignment(5, params()))
    executor.start(Assignment(6, params()))
    assert [number for number, _ in collect(executor, 2)] == [5, 6]


def place_of(number: int) -> tuple[int, int, str]:
    """Say who was asked, and which GPUs it sees."""
    return number, os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", "all")


def broken() -> None:
    raise RuntimeError("no such kernel")


@pytest.mark.parametrize("in_process", [True, False], ids=["local", "ray"])
def test_what_there_is_can_be_asked_and_measured_before_trials_are_trained(tmp_path: Path, in_process: bool) -> None:
    executor = make_executor(workers=1, in_process=in_process)
    try:
        machine = executor.machine(memory_gb=0.5)
        assert machine.cpus >= 1
        assert machine.memory_bytes == 0.5e9
        number, process, gpus = executor.measure(place_of, 7)
        assert number == 7
        assert (process == os.getpid()) == in_process
        assert in_process or gpus == ""
        with pytest.raises((BpttError, RuntimeError), match="no such kernel"):
            executor.measure(broken)
        executor.open(job(tmp_path))
        until_ready(executor, 1)
        executor.start(Assignment(0, params()))
        [(_, reply)] = collect(executor, 1)
        assert isinstance(reply, Progress)
    finally:
        executor.close()


class Holder:
    """Holds what it was given of a cluster, until it is killed."""

    def is_there(self) -> bool:
        return True


@pytest.mark.slow
def test_a_full_cluster_is_waited_for_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import ray

    monkeypatch.setattr(measuring, "SOON_S", 0.5)
    executor = make_executor(workers=1)
    try:
        executor.machine(memory_gb=None)
        holder = ray.remote(num_cpus=ray.cluster_resources()["CPU"])(Holder).remote()
        ray.get(holder.is_there.remote())
        gone = threading.Timer(2.0, ray.kill, [holder])
        gone.start()
        assert executor.measure(place_of, 7)[0] == 7
        gone.join()
    finally:
        executor.close()
    assert "the cluster is full" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_ray_worker_is_reported_lost_and_its_slot_filled_again(tmp_path: Path) -> None:
    executor = make_executor(workers=1)
    executor.open(job(tmp_path))
    try:
        until_ready(executor, 1)
        executor.start(Assignment(0, params(fate="die_once")))
        [(_, first)] = collect(executor, 1)
        assert isinstance(first, Progress)
        executor.advance(0)
        [(_, lost)] = collect(executor, 1)
        assert isinstance(lost, Failure)
        assert lost.state is TrialState.LOST
        executor.release(0)
        until_ready(executor, 1)
        executor.start(Assignment(0, params(fate="die_once"), first.checkpoint))
        [(_, resumed)] = collect(executor, 1)
        assert isinstance(resumed, Progress)
        assert resumed.evaluation == 1
    finally:
        executor.close()


@pytest.mark.slow
def test_a_worker_that_finds_no_room_is_waited_for_and_given_nothing(tmp_path: Path) -> None:
    executor = make_executor(workers=2)
    executor.open(job(tmp_path))
    import ray

    try:
        until_ready(executor, 2)
        cpus = int(ray.cluster_resources()["CPU"])

        class Squatter:
            def here(self) -> bool:
                return True

        squatter = ray.remote(Squatter).options(num_cpus=cpus - 1).remote()
        for number in (0, 1):  # a worker under way that is given up is replaced, and the squatter takes its place
            executor.start(Assignment(number, params()))
        executor.release(0)
        here, replies = squatter.here.remote(), []
        for number in range(2, 8):  # Ray keeps to no order: the replacement may come first
            if ray.wait([here], timeout=15)[0]:
                break
            while executor.slots < 2:
                replies += executor.wait(0.1)
            executor.start(Assignment(number, params()))
            executor.release(number)
        assert ray.get(here, timeout=60)
        assert executor.slots == 1
        ray.kill(squatter)
        collect(executor, 1 - len(replies))
        until_ready(executor, 2)
    finally:
        executor.close()


class Stillborn(RemoteWorker):
    """A worker on a node that lacks what it needs."""

    def __init__(self) -> None:
        raise ModuleNotFoundError("No module named 'what_the_node_lacks'")


@pytest.mark.slow
def test_workers_that_die_one_after_the_other_before_they_are_ready_end_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_executor, "RemoteWorker", Stillborn)
    executor = make_executor(workers=1)
    executor.open(job(tmp_path))
    try:
        with pytest.raises(BpttError, match=r"workers die .*what_the_node_lacks"):
            until_ready(executor, 1)
    finally:
        executor.close()


@pytest.mark.slow
def test_gpus_are_not_seen_by_workers_that_were_given_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    executor = RayExecutor(workers=1)
    executor.open(job(tmp_path))
    import ray

    try:
        until_ready(executor, 1)
        look = executor._slots[0].actor.__ray_call__.remote(lambda _: os.environ.get("CUDA_VISIBLE_DEVICES"))
        assert ray.get(look) == ""
    finally:
        executor.close()


@pytest.mark.slow
def test_rays_own_way_with_sigterm_does_not_replace_ours(tmp_path: Path) -> None:
    def ours(*_: object) -> None:
        """Stop in good order."""

    before = signal.signal(signal.SIGTERM, ours)
    executor = make_executor(workers=1)
    try:
        executor.open(job(tmp_path))
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        executor.close()
        signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
def test_more_than_a_cluster_has_is_refused_with_what_it_has(tmp_path: Path) -> None:
    executor = make_executor()
    wanted = job(tmp_path)
    with pytest.raises(UserError, match=r"resources: a trial asks for 4096 CPU; the cluster has \d+ CPU and 0 GPU"):
        executor.open(Job(**{**{name: getattr(wanted, name) for name in wanted.__slots__}, "cpus": 4096.0}))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:6379", "host:port", "127.0.0.1:99999"])
def test_a_cluster_that_is_not_there_is_named(address: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"Ray at {address} cannot be reached"):
        make_executor(address).open(job(tmp_path))


@pytest.mark.slow
def test_ray_is_shut_to_those_without_the_token(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    environment["HOME"] = str(tmp_path)  # no token there either
    owner = (
        "import os; from orchestrator.executors.cluster import connect; connect(''); import ray\n"
        "print(ray.get_runtime_context().gcs_address, os.environ['RAY_AUTH_TOKEN'], flush=True); input()"
    )
    command = [sys.executable, "-c", owner]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address, token = process.stdout.readline().split()
        intruder = f"import ray; ray.init(address={address!r}, log_to_driver=False); print(ray.cluster_resources())"
        for given, opens in (({}, False), ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}, True)):
            tried = subprocess.run(
                [sys.executable, "-c", intruder],
                env={**environment, **given},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert ("CPU" in tried.stdout) == opens, tried.stderr[-2000:]
        process.communicate("\n", timeout=60)
