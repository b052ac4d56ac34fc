"""Sweeps whose driver is gone are taken up; all others are left alone."""

from __future__ import annotations

import itertools
import time

import pytest

from orchestrator.database.lease import LAID_DOWN, Lease, lay_down
from orchestrator.database.ledger import Ledger
from orchestrator.jobs.keep import Keeper, is_orphan
from orchestrator.settings import Settings

GONE = "elsewhere:7:1:x:y"


@pytest.fixture
def ledger(sweep_settings: Settings) -> Ledger:
    """Five sweeps: one orphaned, one driven, one interrupted, one just entered, one asked to stop and then orphaned."""
    made = Ledger(sweep_settings.study_url)
    for name in ("orphan", "driven", "interrupted", "new", "asked"):
        made.create(name, {"name": name})
    made.update("orphan", owner=GONE, expires=time.time() - 1)
    Lease(made, "driven").take()
    made.update("interrupted", state="interrupted")
    made.update("asked", owner=GONE, expires=time.time() - 1, stop_requested=1)
    return made


def test_only_the_orphan_is_taken_up_and_what_was_asked_to_stop_is_laid_down(ledger: Ledger) -> None:
    taken: list[str] = []
    keeper = Keeper(ledger, lambda row: taken.append(row.name), lambda _: None)
    assert keeper.look() == taken == ["orphan"]
    asked = ledger.sweep("asked")
    assert (asked.state, asked.owner) == ("interrupted", None)
    assert [row.name for row in ledger.all() if is_orphan(row)] == ["orphan"]


def test_a_sweep_entered_long_ago_that_nobody_ever_drove_is_an_orphan(ledger: Ledger) -> None:
    ledger.update("new", created=time.time() - 3600)
    assert is_orphan(ledger.sweep("new"))


def test_what_does_not_begin_is_tried_again_later_and_then_left(ledger: Ledger) -> None:
    now, taken, said = [0.0], [], []  # type: ignore[var-annotated]
    keeper = Keeper(ledger, lambda row: taken.append(now[0]), said.append, clock=lambda: now[0])
    for second in range(0, 2000, 5):
        now[0] = float(second)
        keeper.look()
    assert len(taken) == 5
    assert [later - earlier > 30 for earlier, later in itertools.pairwise(taken)] == [True] * 4
    assert sum("left to you" in line for line in said) == 1


def test_a_dead_sweep_that_is_stopped_is_nobodys_to_take_up(ledger: Ledger) -> None:
    assert lay_down(ledger, ledger.sweep("orphan"))
    assert not is_orphan(ledger.sweep("orphan"))
    assert ledger.sweep("orphan").message == LAID_DOWN
    assert not lay_down(ledger, ledger.sweep("orphan"))
