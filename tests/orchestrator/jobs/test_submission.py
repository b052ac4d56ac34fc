"""A sweep is submitted once, however often and by however many it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.database.lease import Lease
from orchestrator.database.ledger import DriverRow, Ledger
from orchestrator.errors import SpecChanged, UserError
from orchestrator.jobs.parcel import Submission
from orchestrator.jobs.server import ClusterJob, DuplicateJob, is_jobs_address, jobs_address, without_user
from orchestrator.jobs.submission import Beginning, Sending, Sent, await_driver, submit
from orchestrator.settings import Settings
from tests.orchestrator.conftest import make_spec

FIRST = "bptt-test-1"


class Cluster:
    """A Jobs server whose jobs stand as they are told to."""

    address = "http://user:hunter2@head:8265"

    def __init__(self, *jobs: ClusterJob) -> None:
        self.known = {job.name: job for job in jobs}
        self.submitted: list[dict[str, Any]] = []
        self.said = ""
        self._lock = threading.Lock()

    def jobs(self) -> list[ClusterJob]:
        return list(self.known.values())

    def job(self, name: str) -> ClusterJob:
        return self.known[name]

    def lines(self, name: str) -> str:
        return self.said

    def submit(self, name: str, entrypoint: str, *, folder: Path, **details: Mapping[str, str]) -> None:
        with self._lock:
            if name in self.known:
                raise DuplicateJob(name)
            self.known[name] = ClusterJob(name, "pending", "", None, details["metadata"])
        self.submitted.append({"entrypoint": entrypoint, "files": {each.name for each in folder.iterdir()}, **details})


def ask(cluster: Cluster, ledger: Ledger | None = None, **changes: Any) -> Sent:
    sending = Sending(Path("/nowhere"), python="py thon; true")
    return submit(cluster, make_spec(**changes), submission=Submission(), sending=sending, ledger=ledger)  # type: ignore[arg-type]


def test_a_submitted_sweep_is_a_job_named_after_it_and_shows_no_secret() -> None:
    cluster = Cluster()
    assert ask(cluster) == Sent(FIRST, True)
    (job,) = cluster.submitted
    assert job["entrypoint"] == "'py thon; true' -m orchestrator.cli drive --supervise"
    assert job["environment"] == {"BPTT_JOB": FIRST, "BPTT_JOBS_ADDRESS": "http://head:8265"}
    assert job["files"] >= {"sweep.yaml", "submission.json", "orchestrator", "workloads"}
    assert "hunter2" not in str(job)


def test_what_is_pending_or_running_is_not_submitted_again() -> None:
    cluster = Cluster()
    ask(cluster)
    assert ask(cluster) == Sent(FIRST, False, "its job is pending already")
    assert len(cluster.submitted) == 1


def test_a_running_job_with_another_spec_is_refused() -> None:
    cluster = Cluster()
    ask(cluster)
    with pytest.raises(SpecChanged, match="being run by job bptt-test-1 with another spec"):
        ask(cluster, search={"sampler": "random", "pruner": "none", "seed": 4})
    assert not ask(cluster, resources={"cpus": 2}).is_new  # resources do not make another sweep


def test_a_job_that_ended_is_followed_by_one_with_the_next_number() -> None:
    ended = ClusterJob("bptt-test-9", "failed", "", 1, {})
    of_another = ClusterJob("bptt-test-2-33", "running", "", None, {})
    assert ask(Cluster(ended, of_another)).job == "bptt-test-10"


def test_many_who_submit_at_once_make_one_job() -> None:
    cluster, sent = Cluster(), []
    threads = [threading.Thread(target=lambda: sent.append(ask(cluster))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.is_new for each in sent) == [False] * 5 + [True]
    assert {each.job for each in sent} == {FIRST}


def test_a_driven_sweep_is_recognised_by_its_lease(sweep_settings: Settings) -> None:
    ledger, spec = Ledger(sweep_settings.study_url), make_spec()
    ledger.create("test", spec.plain())
    lease = Lease(ledger, "test")
    lease.take()
    assert ask(Cluster(), ledger) == Sent("", False, "it is being driven already")
    ledger.enter_driver(DriverRow("test", lease.owner, "vm", "http://head:8265", "bptt-test-4", 1.0))
    assert ask(Cluster(), ledger).job == "bptt-test-4"
    with pytest.raises(SpecChanged, match="exists with another spec"):
        ask(Cluster(), ledger, search={"sampler": "random", "pruner": "none", "seed": 4})
    lease.give_back("interrupted", "")
    assert ask(Cluster(), ledger) == Sent("bptt-test-5", True)


def wait(cluster: Cluster, ledger: Ledger | None, said: Callable[[str], None] = lambda _: None) -> Beginning:
    return await_driver(cluster, "test", FIRST, open_ledger=lambda: ledger, say=said, wait_s=0.0)  # type: ignore[arg-type]


def test_waiting_tells_driven_from_driven_by_another_database(sweep_settings: Settings) -> None:
    cluster, lines = Cluster(), []  # type: ignore[var-annotated]
    ask(cluster)
    ledger = Ledger(sweep_settings.study_url)
    assert wait(cluster, ledger, lines.append).state == "waiting"
    assert lines == ["job bptt-test-1 is pending"]
    cluster.said = "test: driven by vm:1\n"
    assert wait(cluster, ledger).state == wait(cluster, None).state == "driven elsewhere"
    ledger.create("test", make_spec().plain())
    lease = Lease(ledger, "test")
    lease.take()
    ledger.enter_driver(DriverRow("test", lease.owner, "vm", "", FIRST, 1.0))
    assert wait(cluster, ledger).state == "driven"


def test_a_job_that_failed_says_why() -> None:
    cluster = Cluster()
    ask(cluster)
    cluster.said = "one\n" * 50 + "bptt: the last\n"
    cluster.known[FIRST] = replace(cluster.known[FIRST], state="failed", exit_status=2)
    failed = wait(cluster, None)
    assert (failed.state, failed.exit_status) == ("failed", 2)
    assert failed.lines.splitlines()[-1] == "bptt: the last"
    cluster.known[FIRST] = replace(cluster.known[FIRST], exit_status=None, message="no such working_dir")
    assert wait(cluster, None) == Beginning("failed", 1, "no such working_dir")
    cluster.known[FIRST] = replace(cluster.known[FIRST], state="stopped")
    assert wait(cluster, None).exit_status == 130


@pytest.mark.parametrize(
    "address",
    [
        *("head:6379", "auto", "ray://head:10001", "http://", "http:///x", "http://head:99999", "http://head:x", ""),
        *("http://head:8265/;rm -rf ~", "http://$(id):8265", "http://head:8265/?x=1", "http://head:8265/#x"),
    ],
)
def test_what_is_no_address_of_a_dashboard_is_refused(address: str) -> None:
    with pytest.raises(UserError, match=r"address: .*http://head:8265"):
        jobs_address(address)


def test_addresses_are_told_by_their_scheme_and_recorded_without_a_user() -> None:
    assert is_jobs_address("HTTPS://head")
    assert not is_jobs_address("head:8265")
    assert jobs_address("HTTP://u:p@head:8265/ray/") == "http://u:p@head:8265/ray"
    assert without_user("http://u:p@head:8265/ray") == "http://head:8265/ray"
