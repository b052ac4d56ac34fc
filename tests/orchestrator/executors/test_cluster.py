"""A cluster that grows, shrinks and is shared: several real Ray nodes on one machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from orchestrator.driver import Driver
from orchestrator.errors import UserError
from orchestrator.event import Happening
from orchestrator.executors import cluster as ray_cluster
from orchestrator.executors import connection
from orchestrator.executors import ray as ray_executor
from orchestrator.executors.cluster import Node, demand_of, fitting, options_of
from orchestrator.executors.local import LocalExecutor
from orchestrator.executors.ray import RayExecutor
from orchestrator.executors.share import Claim, fair_shares
from orchestrator.settings import Settings
from orchestrator.spec import spec_from
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import Assignment, Failure, Job, Moved, TrialState
from tests.fakes import KIND, Scripted
from tests.orchestrator.executors.test_executors import collect, job, params, until_ready
from workloads.protocol import Progress

CHANGING = ("sequence_steps_per_second", "peak_memory_mb")


def plain_job(**changes: Any) -> Job:
    return Job("test", KIND, {}, Scripted().prepare(), "file:///nowhere", **changes)


def test_workers_are_counted_node_by_node_in_every_resource() -> None:
    nodes = [
        Node("a", {"CPU": 8.0, "GPU": 2.0, "memory": 10e9, "disk": 1.0, "accelerator_type:A100": 1.0}),
        Node("b", {"CPU": 3.0, "memory": 64e9}),
        Node("c", {"CPU": 100.0, "memory": 64e9}, is_draining=True),
    ]
    for wanted, count in (
        ({"cpus": 2.0}, 5),
        ({"cpus": 1.0, "gpus": 0.25}, 8),
        ({"cpus": 0.5, "gpus": 0.1}, 16),
        ({"cpus": 0.5, "gpus": 0.4}, 4),
        ({"cpus": 1.0, "memory_gb": 4.0}, 5),
        ({"cpus": 1.0, "custom": {"disk": 0.5}}, 2),
        ({"cpus": 3.0, "accelerator": "A100"}, 2),
        ({"accelerator": "H100"}, 0),
    ):
        assert fitting(nodes, demand_of(plain_job(**wanted))) == count, wanted


def test_ray_is_told_what_a_worker_takes_and_where_it_goes() -> None:
    given = options_of(plain_job(cpus=2.0, memory_gb=1.5, custom={"disk": 1.0}, accelerator="A100", placement="spread"))
    assert given == {
        "num_cpus": 2.0,
        "num_gpus": 0.0,
        "memory": 1_500_000_000,
        "resources": {"disk": 1.0},
        "accelerator_type": "A100",
        "scheduling_strategy": "SPREAD",
        "max_restarts": 0,
    }
    assert "scheduling_strategy" not in options_of(plain_job())


@pytest.mark.parametrize(
    ("wants", "shares"),
    [
        ([99], [6]),
        ([99, 99], [3, 3]),
        ([1, 99], [1, 5]),
        ([99, 0, 99], [3, 0, 3]),
        ([99, 99, 1], [3, 2, 1]),
        ([99] * 7, [1] * 6 + [0]),
    ],
)
def test_a_cluster_is_divided_evenly_among_sweeps_that_want_it(wants: list[int], shares: list[int]) -> None:
    claims = [Claim(f"{number:02}", want, {"CPU": 1.0}) for number, want in enumerate(wants)]
    nodes = [Node("a", {"CPU": 4.0}), Node("b", {"CPU": 2.0})]
    assert list(fair_shares(claims, nodes, now=0.0).values()) == shares
    later = [fair_shares(claims, nodes, now=300.0 * turn) for turn in range(len(wants))]
    asked = [claim.job for claim in claims if claim.wants]
    assert all(any(given[name] for given in later) for name in asked)  # nobody is left without for ever


def test_sweeps_that_need_different_things_do_not_stand_in_each_others_way() -> None:
    claims = [Claim("gpu", 99, {"CPU": 1.0, "GPU": 1.0}), Claim("cpu", 99, {"CPU": 1.0})]
    assert fair_shares(claims, [Node("a", {"CPU": 20.0, "GPU": 4.0})], now=0.0) == {"gpu": 4, "cpu": 16}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    # As `connect` does, since Ray reads it when it is first imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(ray_executor, "FOLLOW_S", 0.3)
    for left in (2, 1, 0):
        made = Cluster()
        try:
            made.add_node(num_cpus=1, include_dashboard=False)
            break
        except Exception:  # a bare one, where a busy machine takes more than 30 s
            made.shutdown()
            if not left:
                raise
    yield made
    made.shutdown()


def until(condition: Callable[[], bool], executor: RayExecutor, timeout_s: float = 90) -> None:
    end = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < end:
        assert executor.wait(0.1) == []
    assert condition()


def drain(cluster: Any, node: str) -> None:
    import ray
    from ray.core.generated import autoscaler_pb2

    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    deadline_ms = int((time.time() + 60) * 1000)
    accepted, why = ray._raylet.GcsClient(address=cluster.address).drain_node(node, reason, "test", deadline_ms)
    assert accepted, why


def test_a_ray_that_is_started_here_is_impatient_and_one_that_is_there_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[str, str | None]] = []

    def init(*, address: str, **_: Any) -> None:
        seen.append((address, os.environ.get(next(iter(ray_cluster.IMPATIENCE)))))

    monkeypatch.setattr("ray.init", init)
    with pytest.MonkeyPatch.context() as patch:
        for name in ray_cluster.IMPATIENCE:
            patch.setenv(name, "")  # so that what connecting sets goes again
            patch.delenv(name)
        ray_cluster.connect("auto")
        ray_cluster.connect("")
    assert seen == [("auto", None), ("local", "20")]


def test_a_node_is_waited_for_until_it_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    looks: list[float] = []

    class Whole:
        def start_ray_processes(self) -> None:
            self._gcs_client = self

        def get_all_node_info(self, *, timeout: float) -> dict[str, str]:
            looks.append(timeout)
            return {} if len(looks) < 3 else {"node": "alive"}

    monkeypatch.setattr(ray._private.node, "Node", Whole)
    with ray_cluster.bare():
        ray._private.node.Node().start_ray_processes()
    assert len(looks) == 3
    assert ray_cluster.REGISTERED_WITHIN_S >= looks[0] > looks[2] > 0
    assert ray._private.node.Node is Whole


def test_a_cluster_of_which_only_the_head_has_come_up_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [Node("head", {"memory": 1e9})]
    monkeypatch.setattr(connection, "connect", lambda _: None)
    monkeypatch.setattr(ray_executor, "nodes", lambda: there)
    monkeypatch.setattr(ray_executor, "grows_by_itself", lambda: False)
    monkeypatch.setattr(ray_executor, "exchange", lambda claim: [claim])
    monkeypatch.setattr("ray.put", lambda data: data)
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(get_job_id=lambda: "1"))
    monkeypatch.setattr(ray_executor, "withdraw", lambda *_: None)
    executor = RayExecutor("head:6379")
    executor.open(plain_job())
    assert executor.slots == 0
    assert "no node of the cluster has 1 CPU for a trial now; waiting" in executor.waits_for
    there.append(Node("small", {"CPU": 0.5}))
    with pytest.raises(UserError, match="a trial asks for 1 CPU"):
        RayExecutor("head:6379").open(plain_job())


@pytest.mark.slow
def test_workers_follow_the_cluster(cluster: Any, tmp_path: Path) -> None:
    special = replace(job(tmp_path), custom={"disk": 1.0}, accelerator="A100")
    asked = "1 CPU, 1 disk and an accelerator A100; the cluster has 1 CPU, 0 GPU, 0 disk and no accelerator A100"
    with pytest.raises(UserError, match=f"^resources: a trial asks for {asked}$"):
        RayExecutor(cluster.address).open(special)

    # With a number of workers given, nodes that have what they need are waited for.
    executor = RayExecutor(cluster.address, workers=2)
    try:
        executor.open(special)
        assert executor.slots == 0
        assert "no node of the cluster has 1 CPU, 1 disk and an accelerator A100" in executor.waits_for
        node = cluster.add_node(num_cpus=4, resources={"disk": 4, "accelerator_type:A100": 1})
        until_ready(executor, 2)
        assert executor.waits_for == ""
        executor.start(Assignment(0, params(evaluations=10**6)))
        [(_, reply)] = collect(executor, 1)
        cluster.remove_node(node, allow_graceful=False)
        while isinstance(reply, Progress):  # a worker outlives its node by a moment
            executor.advance(0)
            [(_, reply)] = collect(executor, 1)
        assert isinstance(reply, Failure)
        assert reply.state is TrialState.LOST
        executor.release(0)
        until(lambda: "waiting for nodes" in executor.waits_for, executor)
    finally:
        executor.close()

    # Without, there are as many workers as fit, however many nodes come and go.
    executor = RayExecutor(cluster.address)
    try:
        executor.open(job(tmp_path))
        until_ready(executor, 1)
        node = cluster.add_node(num_cpus=2)
        until_ready(executor, 3)
        for number in range(3):
            executor.start(Assignment(number, params()))
        collect(executor, 3)
        drain(cluster, node.node_id)
        until(lambda: sum(slot.is_leaving for slot in executor._slots) == 2, executor)
        # Whatever the workload, a trial goes on elsewhere after the evaluation that it made last.
        for number in range(3):
            executor.advance(number)
        replies = dict(collect(executor, 3))
        moved = {number: reply for number, reply in replies.items() if isinstance(reply, Moved)}
        assert len(moved) == 2
        for number, reply in moved.items():
            assert reply.checkpoint is not None
            assert f"trial-{number:05d}/evaluation-0" in reply.checkpoint
        for number in range(3):
            executor.release(number)
        until_ready(executor, 1)
    finally:
        executor.close()


def language_model(text_file: Path) -> dict[str, Any]:
    return {
        "name": "moving",
        "workload": {"kind": "language_model", "text": str(text_file)},
        "space": {"truncation_length": [16, 24]},
        "train": {"hidden_size": 12, "batch_size": 4, "dropout": 0.2, "num_layers": 2},
        "budget": {"trials": 2, "sequence_steps": 500_000, "evaluations": 2},
        "search": {"sampler": "grid", "pruner": "none"},
    }


def measured(driver: Driver) -> list[list[dict[str, float]]]:
    assert driver.sweep is not None
    return [
        [{name: of for name, of in each.metrics.items() if name not in CHANGING} for each in trial.evaluations]
        for trial in sorted(driver.sweep.trials, key=lambda trial: str(trial.chosen))
    ]


@pytest.mark.slow
def test_a_sweep_whose_node_and_worker_are_given_notice_equals_one_left_alone(
    cluster: Any, tmp_path: Path, text_file: Path
) -> None:
    spec = spec_from(language_model(text_file))
    alone = Driver(
        Settings.load({"runs": tmp_path / "alone"}, environ={}), spec, executor=LocalExecutor(), tracker=NoTracker()
    )
    with alone:
        list(alone.run())

    node = cluster.add_node(num_cpus=1)
    executor = RayExecutor(cluster.address)
    settings = Settings.load({"runs": tmp_path / "moved"}, environ={})
    driver = Driver(settings, spec, executor=executor, tracker=NoTracker())
    left: list[str] = []
    given_notice: list[str] = []
    with driver:
        sweep = driver.sweep
        assert sweep is not None
        for event in driver.run():
            there = {slot.node: slot.number for slot in executor._slots}.get(node.node_id)
            if event.happening is Happening.MOVED:
                left += sweep.places.part_way.values()
            elif not given_notice and there is not None and sweep.trials[there].evaluations:  # it is in its second half
                drain(cluster, node.node_id)
                given_notice.append("node")
            elif left and len(given_notice) == 1 and sweep.under_way:
                slot = next(slot for slot in executor._slots if slot.number is not None)
                os.kill(process_of(slot.actor), signal.SIGTERM)
                given_notice.append("process")
    assert len(set(left)) >= 2
    assert all("part-way" in checkpoint for checkpoint in left)
    assert measured(driver) == measured(alone)
    assert not list((tmp_path / "moved").rglob("part-way*"))
    assert not sweep.losses


def process_of(actor: Any) -> int:
    """Return the process of an actor that is busy, by what Ray knows of it."""
    import ray

    for entry in ray._private.state.actors().values():
        if entry["ActorID"] == actor._actor_id.hex() and entry["Pid"]:  # 0 would be all of these tests
            return int(entry["Pid"])
    raise AssertionError("no such actor")


@pytest.mark.slow
def test_two_sweeps_share_a_cluster_evenly_and_the_rest_goes_to_who_is_left(
    cluster: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cluster.add_node(num_cpus=3)
    drivers, marks = [], []
    for name, trials in (("first", 90), ("second", 20)):
        folder = tmp_path / name
        folder.mkdir()
        spec = {
            "name": name,
            "workload": {"kind": KIND, "pause_s": 0.5, "marks": str(folder)},
            "space": {"quality": {"float": [0.1, 1.0]}},
            "budget": {"trials": trials, "sequence_steps": 3000, "evaluations": 3},
            "search": {"sampler": "random", "pruner": "none"},
        }
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(spec))
        command = [sys.executable, "-m", "orchestrator.cli", "run", str(file), "--address", cluster.address, "--json"]
        environment = {**os.environ, "BPTT_RUNS": str(tmp_path / f"{name}-runs"), "BPTT_TRACKING_URI": "none"}
        with (tmp_path / f"{name}.log").open("wb") as log:
            driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        request.addfinalizer(driver.kill)
        drivers.append(driver)
        marks.append(folder)
        end = time.monotonic() + 120
        while not list(folder.iterdir()) and time.monotonic() < end:  # the first has it all when the second comes
            time.sleep(0.2)
        assert list(folder.iterdir()), (tmp_path / f"{name}.log").read_text()[-3000:]
    for driver in drivers:
        driver.wait(timeout=200)
    said = [(tmp_path / f"{name}.log").read_text()[-3000:] for name in ("first", "second")]
    assert [driver.returncode for driver in drivers] == [0, 0], said
    times = [sorted(int(file.name.rpartition("-")[2]) / 1e9 for file in folder.iterdir()) for folder in marks]
    assert [len(found) for found in times] == [270, 60]
    begin, end_s = times[1][0] + 5.0, times[1][-1] - 1.0
    first, second = (sum(begin < at < end_s for at in found) for found in times)
    assert 0.6 < first / second < 1.6, (first, second, begin, end_s)
    assert times[1][-1] < times[0][-1]
