from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from orchestrator.errors import UserError
from orchestrator.executors import connection
from orchestrator.executors.connection import Connection

NOWHERE = "127.0.0.1:1"


def test_a_cluster_that_cannot_be_reached_is_told_to_whoever_needs_it_and_to_nobody_before() -> None:
    made = Connection(NOWHERE)
    made.begin()
    for _ in range(2):
        with pytest.raises(UserError, match="cannot be reached"):
            made.make()
    assert not made.is_made
    made.end()


def test_ray_starts_without_a_word() -> None:
    start = "from orchestrator.executors.connection import Connection; made = Connection(''); made.make(); made.end()"
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_connection_ended_before_its_time_is_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(connection, "connect", made.append)
    early = Connection(NOWHERE)
    early.begin(within_s=60.0)
    early.end()
    assert not made


def test_a_connection_begun_for_later_is_made_at_once_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[threading.Thread] = []
    monkeypatch.setattr(connection, "connect", lambda _: held.append(threading.current_thread()))
    later = Connection(NOWHERE)
    later.begin(within_s=3600.0)
    later.make()
    assert later.is_made
    time.sleep(0.01)
    assert held[0].is_alive()  # the system ends what Ray started with the thread that started it
    later.end()
    assert not held[0].is_alive()
