"""The ledger and the lease: evaluations once and for all, one driver at a time."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import pytest
from sqlalchemy import func, select
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError, OperationalError

from orchestrator.database import lease as lease_module
from orchestrator.database.lease import Lease, LeaseKeeper
from orchestrator.database.ledger import DriverRow, Ledger, sweeps
from orchestrator.errors import BpttError, LeaseLost, SpecChanged, SweepHeld, SweepNotFound, Unreachable, UserError
from orchestrator.settings import LEASE_S
from workloads.protocol import Progress


@pytest.fixture
def ledger(database_url: str) -> Ledger:
    made = Ledger(database_url)
    made.create("test", {"name": "test"})
    made.update("test", owner="me")
    return made


ROUNDS = 20


def progress(evaluation: int) -> Progress:
    return Progress(evaluation, evaluation * 100, {"valid_loss": 1 / 3}, f"file:///{evaluation}", 1.5)


def test_an_evaluation_is_acknowledged_once(ledger: Ledger) -> None:
    for evaluation in (0, 1):
        ledger.record("test", [(4, progress(evaluation))], owner="me")
    with pytest.raises(IntegrityError):
        ledger.record("test", [(4, progress(1))], owner="me")
    assert ledger.evaluations("test") == {4: [progress(0), progress(1)]}
    assert ledger.evaluations("other") == {}


def test_a_name_is_taken_once(ledger: Ledger) -> None:
    with pytest.raises(SpecChanged):
        ledger.create("test", {})


def test_an_unknown_sweep_is_refused_with_those_there_are(ledger: Ledger) -> None:
    with pytest.raises(SweepNotFound, match="no sweep is called x; there are test"):
        ledger.sweep("x")


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("nonsense", UserError),
        ("nosuch://x", UserError),
        ("sqlite:////proc/nowhere/study.db", UserError),
        ("postgresql+psycopg://u:secret@127.0.0.1:1/x", Unreachable),
        ("postgresql+psycopg://u:p@secret@127.0.0.1:1/x", UserError),
    ],
)
def test_a_database_that_cannot_be_opened_is_named_without_its_password(url: str, error: type[BpttError]) -> None:
    with pytest.raises(error, match="study_url: ") as caught:
        Ledger(url)
    assert type(caught.value) is error
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("is_committed", [False, True], ids=["before", "after"])
def test_a_lease_is_taken_once_though_the_answer_was_lost(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    breaks = iter([True, False])

    def break_off(engine: Engine) -> Iterator[Connection]:
        is_broken = next(breaks)
        with engine.connect() as connection, connection.begin() as transaction:
            yield connection
            if is_broken and not is_committed:
                transaction.rollback()
        if is_broken:
            raise OperationalError("", {}, Exception("server closed the connection unexpectedly"))

    monkeypatch.setattr(Engine, "begin", contextlib.contextmanager(break_off))
    lease = Lease(ledger, "test")
    lease.take()
    assert ledger.sweep("test").owner == lease.owner


def reach_again_and_again(url: str, gate: Barrier, said: Queue[tuple[int, int, str]]) -> None:
    """Reach for a lease ROUNDS times, each time together with another process, and say what came of it."""
    ledger = Ledger(url)
    for number in range(ROUNDS):
        lease = Lease(ledger, "test")
        gate.wait()
        try:
            lease.take()
            said.put((number, os.getpid(), "mine"))
        except SweepHeld as error:
            said.put((number, os.getpid(), str(error)))
        gate.wait()
        lease.give_back("interrupted", "")
        gate.wait()


def test_of_two_drivers_that_reach_for_a_lease_at_once_one_gets_it_each_time(ledger: Ledger, database_url: str) -> None:
    ledger.update("test", owner=None)
    spawn = multiprocessing.get_context("spawn")
    gate, said = spawn.Barrier(2), spawn.Queue()
    drivers = [spawn.Process(target=reach_again_and_again, args=(database_url, gate, said)) for _ in range(2)]
    for driver in drivers:
        driver.start()
    heard = sorted(said.get(timeout=120) for _ in range(2 * ROUNDS))
    for driver in drivers:
        driver.join()
    for number in range(ROUNDS):
        (_, first, one), (_, second, other) = heard[2 * number : 2 * number + 2]
        assert (one == "mine") != (other == "mine")
        refusal, winner = (other, first) if one == "mine" else (one, second)
        assert f"is being run by process {winner} on " in refusal or "has just been taken by another" in refusal


def test_a_lease_is_held_by_one(ledger: Ledger) -> None:
    first, second = Lease(ledger, "test"), Lease(ledger, "test")
    first.take()
    with pytest.raises(SweepHeld, match=f"process {os.getpid()} on "):
        second.take()
    first.give_back("interrupted", "")
    second.take()
    assert ledger.sweep("test").state == "running"


def test_of_many_that_reach_for_a_lease_at_once_one_gets_it(ledger: Ledger) -> None:
    script = (
        "import sys; from orchestrator.database.lease import *; from orchestrator.errors import SweepHeld\n"
        f"lease = Lease(Ledger({ledger.url!r}), 'test')\n"
        "sys.stdin.readline()\n"
        "try: lease.take(); print('mine', flush=True)\n"
        "except SweepHeld: print('held', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    drivers = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for driver in drivers:
        assert driver.stdin is not None
        driver.stdin.write("go\n")
        driver.stdin.flush()
    said = [driver.stdout.readline().strip() for driver in drivers if driver.stdout]
    for driver in drivers:
        driver.communicate("end\n", timeout=30)
    assert sorted(said) == ["held", "held", "held", "mine"]


def test_a_dead_driver_of_this_machine_loses_its_lease_at_once(ledger: Ledger) -> None:
    script = (
        "import os; from orchestrator.database.lease import *\n"
        f"Lease(Ledger({ledger.url!r}), 'test').take(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    row = ledger.sweep("test")
    assert (row.state, row.is_driven) == ("running", False)
    Lease(ledger, "test").take()


def held_elsewhere(ledger: Ledger, seconds: float) -> Lease:
    lease = Lease(ledger, "test", seconds=seconds)
    lease.owner = "elsewhere:1:2:3:x"
    lease.take()
    return lease


def test_a_driver_on_another_machine_is_waited_for_until_its_lease_runs_out(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = held_elsewhere(ledger, 1.0), Lease(ledger, "test")
    began = time.monotonic()
    second.take()
    assert 0.5 < time.monotonic() - began < 10
    assert "waiting for a sign of life" in capsys.readouterr().err
    with pytest.raises(LeaseLost):
        first.renew()
    first.give_back("finished", "")  # changes nothing
    assert ledger.sweep("test").owner == second.owner


def test_a_driver_on_another_machine_that_gives_a_sign_of_life_keeps_its_sweep(ledger: Ledger) -> None:
    first = held_elsewhere(ledger, 600.0)
    sign = threading.Timer(0.5, first.renew)
    sign.start()
    with pytest.raises(SweepHeld, match="process 1 on elsewhere"):
        Lease(ledger, "test").take()
    sign.join()
    assert ledger.sweep("test").owner == first.owner


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_clock_that_is_wrong_takes_nothing_from_anyone(
    ledger: Ledger, hours: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = held_elsewhere(ledger, LEASE_S)
    there = time.time() + hours * 3600
    monkeypatch.setattr(time, "time", lambda: there)
    sign = threading.Timer(0.5, first.renew)
    sign.start()
    with pytest.raises(SweepHeld):
        Lease(ledger, "test").take()
    sign.join()
    first.give_back("interrupted", "")
    second = Lease(ledger, "test")
    second.take()
    monkeypatch.undo()
    assert ledger.sweep("test").is_driven
    assert LEASE_S - 5 < ledger.sweep("test").left_s <= LEASE_S


def test_a_database_away_for_a_while_takes_no_lease(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(ledger, "test", seconds=0.5)
    lease.take()
    renew, tries = lease.renew, iter(range(100))

    def renew_later() -> bool:
        if next(tries) < 10:
            raise OperationalError("", {}, Exception("connection refused"))
        return renew()

    monkeypatch.setattr(lease, "renew", renew_later)
    keeper = LeaseKeeper(lease, limit_s=math.inf)
    keeper.start()
    time.sleep(0.7)
    keeper.check()
    keeper.stop()
    assert ledger.sweep("test").left_s > 0


def test_renewing_counts_the_time_and_hears_a_request_to_stop(ledger: Ledger) -> None:
    lease = Lease(ledger, "test")
    lease.take()
    time.sleep(0.05)
    assert lease.renew() is False
    assert ledger.sweep("test").elapsed_s >= 0.05
    ledger.update("test", stop_requested=1)
    assert lease.renew() is True


def test_hours_run_out_though_renewing_takes_long(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.create("slow", {})
    lease = Lease(ledger, "slow")
    lease.take()
    monkeypatch.setattr(lease_module, "RENEW_EVERY_S", 0.05)
    monkeypatch.setattr(lease, "renew", lambda: time.sleep(0.4))
    keeper = LeaseKeeper(lease, limit_s=0.6)
    began = time.monotonic()
    keeper.start()
    assert keeper.out_of_time.wait(10)
    assert time.monotonic() - began < 1.2
    keeper.stop()


def test_who_drives_is_noted_by_the_holder_alone(ledger: Ledger) -> None:
    assert ledger.driver("test") is None
    mine = DriverRow("test", "me", "vm", "http://head:8265", "bptt-test-1", 1.5)
    ledger.enter_driver(mine)
    with pytest.raises(LeaseLost):
        ledger.enter_driver(replace(mine, owner="another", job=""))
    assert ledger.driver("test") == mine
    ledger.enter_driver(replace(mine, job="bptt-test-2"))
    found = ledger.driver("test")
    assert found is not None
    assert found.job == "bptt-test-2"


def test_a_question_of_several_queries_sees_one_moment(ledger: Ledger) -> None:
    other = Ledger(ledger.url)

    def ask(connection: Connection) -> list[int]:
        count = select(func.count()).select_from(sweeps)
        found = [connection.execute(count).scalar_one()]
        other.create(f"begun after {found[0]}", {})
        return [*found, connection.execute(count).scalar_one()]

    assert ledger.read(ask) == [1, 1]
    assert ledger.read(ask) == [2, 2]


def test_evaluations_are_counted(ledger: Ledger) -> None:
    ledger.record("test", [(4, progress(0))], owner="me")
    ledger.record("test", [(5, progress(0))], owner="me")
    assert (ledger.count_evaluations("test"), ledger.count_evaluations("other")) == (2, 0)
