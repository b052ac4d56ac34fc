"""The supervisor starts a driver again that died, and no other."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from orchestrator.database.lease import Lease
from orchestrator.database.ledger import Ledger
from orchestrator.jobs import supervisor as module
from orchestrator.jobs.supervisor import Mark, Patience, Supervisor, looking
from orchestrator.settings import Settings

DEAD = Mark("running", "", "vm:1:2:3:4", False, False, 0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)


class Stage:
    """Drivers that do in turn what the script says, over a sweep that stands as `seen` does."""

    def __init__(self, *script: str, seen: Callable[[int], Mark | None] = lambda _: DEAD) -> None:
        self.script, self.seen = list(script), seen
        self.begun: list[bool] = []
        self.said: list[str] = []
        self.supervisor = Supervisor(self.begin, lambda: self.seen(len(self.begun)), self.said.append)

    def begin(self, again: bool) -> subprocess.Popen[bytes]:
        self.begun.append(again)
        code = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return subprocess.Popen([sys.executable, "-S", "-c", f"import os, signal, sys, time\n{code}"])


KILLED, BROKEN, DONE = "os.kill(os.getpid(), 9)", "sys.exit(1)", "sys.exit(0)"


def test_a_killed_driver_is_followed_by_another_until_one_is_done() -> None:
    stage = Stage(KILLED, BROKEN, DONE)
    assert stage.supervisor.run() == 0
    assert stage.begun == [False, True, True]
    assert "killed by SIGKILL" in stage.said[0]
    assert "broke down (exit 1)" in stage.said[1]


@pytest.mark.parametrize("status", [0, 2, 130])
def test_a_driver_that_meant_to_end_is_not_started_again(status: int) -> None:
    stage = Stage(f"sys.exit({status})")
    assert stage.supervisor.run() == status
    assert stage.begun == [False]


@pytest.mark.parametrize(
    "seen",
    [
        replace(DEAD, state="failed"),
        replace(DEAD, state="finished"),
        replace(DEAD, is_driven=True),
        replace(DEAD, stop_requested=True),
    ],
    ids=["failed", "finished", "driven by another", "asked to stop"],
)
def test_a_sweep_that_needs_no_driver_gets_none(seen: Mark) -> None:
    stage = Stage(BROKEN, seen=lambda _: seen)
    assert stage.supervisor.run() == 1
    assert stage.begun == [False]


def test_a_driver_that_dies_again_and_again_without_an_evaluation_is_given_up() -> None:
    stage = Stage(KILLED)
    assert stage.supervisor.run() == 1
    assert len(stage.begun) == module.MOST_STARTS
    assert "given up" in stage.said[-1]


def test_evaluations_in_between_renew_the_patience() -> None:
    patience = Patience()
    assert [patience.pause_s(done) for done in (0, 0, 5, 5)] == [0.01, 0.02, 0.01, 0.02]
    assert patience.pause_s(None) == 0.04  # a database that is away tells of no progress


def test_a_sweep_stopped_while_its_driver_was_dead_stays_stopped() -> None:
    looks = iter([DEAD, DEAD, replace(DEAD, state="interrupted", owner=None, message="stopped by `bptt stop`")])
    stage = Stage(KILLED, seen=lambda _: next(looks))
    assert stage.supervisor.run() == 0
    assert stage.begun == [False]


def test_a_database_that_is_away_does_not_end_the_sweep() -> None:
    stage = Stage(BROKEN, DONE, seen=lambda _: None)
    assert stage.supervisor.run() == 0
    assert stage.begun == [False, True]


def test_a_driver_that_finds_the_database_away_is_not_one_that_was_refused() -> None:
    stage = Stage("sys.exit(2)", DONE, seen=lambda begun: None if begun < 2 else DEAD)
    assert stage.supervisor.run() == 0
    assert stage.begun == [False, True]


def test_a_database_that_comes_back_between_two_drivers_changes_nothing() -> None:
    looks = iter([DEAD, None, DEAD, DEAD])
    stage = Stage(KILLED, DONE, seen=lambda _: next(looks))
    assert stage.supervisor.run() == 0
    assert stage.begun == [False, True]


def stop_soon(supervisor: Supervisor, numbers: Sequence[signal.Signals]) -> None:
    def send() -> None:
        for number in numbers:
            time.sleep(0.7)
            supervisor.stop(number)

    threading.Thread(target=send, daemon=True).start()


def test_a_signal_reaches_the_driver_and_ends_the_job() -> None:
    stage = Stage("signal.signal(15, lambda *_: sys.exit(130)); time.sleep(60)")
    stop_soon(stage.supervisor, [signal.SIGTERM])
    assert stage.supervisor.run() == 130
    assert stage.begun == [False]


def test_a_driver_that_waits_is_told_again() -> None:
    code = "heard = []\nsignal.signal(15, lambda *_: heard.append(1) or len(heard) > 1 and sys.exit(130))"
    stage = Stage(f"{code}\nfor _ in range(600): time.sleep(0.1)")
    stage.supervisor.insist_after_s = 0.3
    stop_soon(stage.supervisor, [signal.SIGTERM])
    assert stage.supervisor.run() == 130


def test_looking_tells_a_database_that_is_away_from_a_sweep_not_begun(sweep_settings: Settings) -> None:
    look = looking(sweep_settings.study_url, "test")
    assert look() == Mark("running", "", None, False, False, 0)
    ledger = Ledger(sweep_settings.study_url)
    ledger.create("test", {"name": "test"})
    Lease(ledger, "test").take()
    seen = look()
    assert seen is not None
    assert seen.is_driven
    assert looking("sqlite:////proc/nowhere/study.db", "test")() is None
