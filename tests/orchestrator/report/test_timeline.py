"""Who trained what when, in a report: open ends, idle time, faults."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from orchestrator.database.ledger import Ledger
from orchestrator.database.stints import Stint, Stints
from orchestrator.database.writes import Writes
from orchestrator.pages import plain
from orchestrator.report import make_report
from orchestrator.report.timeline import find_timeline
from orchestrator.report.words import page_of
from orchestrator.settings import Settings
from orchestrator.standing import Standing, standing
from orchestrator.workers import shown_workers
from tests.orchestrator.recorded import Recorded, record_sweep

A = Stint(0, "host/1", "first", 100.0, 110.0, "complete")


@pytest.fixture
def seen(sweep_settings: Settings) -> Standing:
    ledger = record_sweep(sweep_settings, [Recorded("gru", 8, [2.0, 1.0]), Recorded("gru", 16, [2.0], state=None)])
    return standing(ledger, ledger.sweep("recorded"))


def test_a_sweep_that_noted_no_stints_has_no_timeline(seen: Standing) -> None:
    assert find_timeline(seen, []) is None


def test_idle_is_what_lies_between_a_workers_stints_under_one_driver(seen: Standing) -> None:
    later = Stint(1, "host/1", "first", 115.0, 120.0, "pruned")
    other_driver = Stint(1, "host/1", "second", 500.0, 501.0, "complete")
    found = find_timeline(seen, [A, later, other_driver])
    assert found is not None
    assert (found.trained_s, found.idle_s, found.workers, found.drivers) == (16.0, 5.0, 1, 2)


def test_a_stint_that_a_killed_driver_left_open_ends_with_the_last_evaluation_made_in_it(seen: Standing) -> None:
    at = seen.trials[1].evaluations[0].time
    left_open = Stint(1, "host/1", "killed", at - 30, None, "")
    again = Stint(1, "host/1", "second", at + 60, at + 70, "complete")
    found = find_timeline(seen, [left_open, again])
    assert found is not None
    assert (found.stretches[0].ended, found.stretches[0].how) == (at, "driver lost")
    assert [(fault.trial, fault.what) for fault in found.faults] == [(1, "the driver died")]


def test_a_stint_of_the_driver_at_work_is_under_way(seen: Standing) -> None:
    owner = "elsewhere:1:0:0:x"
    row = replace(seen.row, owner=owner, left_s=10.0)
    found = find_timeline(replace(seen, row=row), [Stint(1, "host/1", owner, time.time() - 5, None, "")])
    assert found is not None
    assert found.stretches[0].how == "under way"
    assert found.stretches[0].ended == pytest.approx(time.time(), abs=2)
    assert found.faults == []


def test_workers_are_named_by_host_only_where_there_are_several() -> None:
    assert list(shown_workers(["a/10", "a/2"]).values()) == ["worker 2", "worker 10"]
    assert list(shown_workers(["b/1", "a/2"]).values()) == ["a 2", "b 1"]


def test_the_report_says_how_long_workers_were_idle_and_what_was_lost(sweep_settings: Settings) -> None:
    ledger: Ledger = record_sweep(sweep_settings, [Recorded("gru", 8, [2.0])])
    ledger.update("recorded", owner="me")
    stints = Stints(Writes(ledger, "recorded", "me"))
    for worker, how in (("a/1", "lost"), ("b/1", "complete")):
        stints.begin(0, worker)
        stints.end(0, how)
    text = plain(page_of(make_report(ledger, "recorded")))
    assert "2 workers trained for" in text
    assert "its worker died" in text
