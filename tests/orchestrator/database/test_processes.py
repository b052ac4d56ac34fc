"""Telling the processes that have ended from those that have not."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from orchestrator.database import processes
from orchestrator.database.processes import is_gone, lives_here, own_name


def name_of(pid: int) -> str:
    host, _, _, namespace, mark = own_name().split(":")
    return ":".join([host, str(pid), processes._started(pid), namespace, mark])


def test_a_process_that_runs_is_not_gone() -> None:
    assert not is_gone(own_name())
    assert lives_here(own_name())


def test_a_process_that_ended_is_gone_and_so_is_one_whose_number_another_has() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = name_of(child.pid)
    assert not is_gone(name)
    child.communicate()
    assert is_gone(name)
    host, _, started, namespace, mark = own_name().split(":")
    assert is_gone(":".join([host, str(os.getpid()), str(int(started) + 1), namespace, mark]))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_process_that_ended_and_was_not_waited_for_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = name_of(child.pid)
    assert child.stdin is not None
    child.stdin.close()
    end = time.monotonic() + 10
    while not is_gone(name) and time.monotonic() < end:
        time.sleep(0.05)
    assert is_gone(name)
    child.wait()


def test_of_another_machine_nothing_is_known() -> None:
    _, *rest = own_name().split(":")
    there = ":".join(["elsewhere", *rest])
    assert not is_gone(there)
    assert not lives_here(there)
