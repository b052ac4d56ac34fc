"""`bptt drive --retried`: what whoever runs a job again when it fails learns from its exit status."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from orchestrator.cli import drive_command
from orchestrator.database.ledger import Ledger
from orchestrator.jobs import server as jobs
from orchestrator.jobs import supervisor
from orchestrator.jobs.parcel import SPEC_FILE, SUBMISSION_FILE, Submission
from orchestrator.settings import Settings
from tests.orchestrator.cli.conftest import Bptt
from tests.orchestrator.conftest import make_spec

GONE = "elsewhere:1:2:3:4"


@pytest.fixture
def ledger(sweep_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Return the database of a sweep whose job's folder this is."""
    (tmp_path / SPEC_FILE).write_text(json.dumps(make_spec().plain()))
    (tmp_path / SUBMISSION_FILE).write_text(json.dumps(asdict(Submission(allow_local=True))))
    monkeypatch.chdir(tmp_path)
    made = Ledger(sweep_settings.study_url)
    made.create("test", make_spec().plain())
    return made


def driving(monkeypatch: pytest.MonkeyPatch, status: int) -> list[str]:
    """Let drivers end with a status; return the names of what they drove."""
    driven: list[str] = []

    def supervise(name: str, *_: object, **__: object) -> int:
        driven.append(name)
        return status

    monkeypatch.setattr(supervisor, "supervise", supervise)
    return driven


def test_a_job_whose_sweep_was_stopped_as_asked_has_not_failed(
    ledger: Ledger, bptt: Bptt, monkeypatch: pytest.MonkeyPatch
) -> None:
    driving(monkeypatch, 130)
    ledger.update("test", state="interrupted", stop_requested=1)
    assert bptt("drive", "--supervise", "--retried").status == 0
    assert bptt("drive", "--supervise").status == 130


def test_a_job_whose_sweep_failed_for_good_needs_no_other_cluster(
    ledger: Ledger, bptt: Bptt, monkeypatch: pytest.MonkeyPatch
) -> None:
    driving(monkeypatch, 1)
    ledger.update("test", state="failed")
    assert bptt("drive", "--supervise", "--retried").status == 0
    ledger.update("test", state="running", owner=GONE, expires=time.time() + 60)
    assert bptt("drive", "--supervise", "--retried").status == 1, "who drives it may be about to end"


class PlayedJobs:
    """A cluster's jobs, as far as the job that ends itself sees them."""

    stopped: list[tuple[str, str]]

    def __init__(self, address: str) -> None:
        self.address = address

    def stop(self, name: str) -> None:
        self.stopped.append((self.address, name))


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return the jobs that are asked to be stopped; this process is not, as it would be on a cluster."""
    monkeypatch.setattr(PlayedJobs, "stopped", [], raising=False)
    monkeypatch.setattr(jobs, "JobsServer", PlayedJobs)
    monkeypatch.setattr(drive_command, "STOPPING_S", 0.0)
    monkeypatch.setattr(drive_command.signal, "signal", lambda *_: None)
    monkeypatch.setenv("BPTT_JOB", "bptt-test-1")
    return PlayedJobs.stopped


@pytest.mark.parametrize("damage", ["a key that is unknown", "settings of one machine", "no submission"])
def test_a_sweep_that_is_refused_is_not_run_again(
    damage: str, ledger: Ledger, bptt: Bptt, tmp_path: Path, stopped: list[tuple[str, str]]
) -> None:
    if damage == "a key that is unknown":
        (tmp_path / SPEC_FILE).write_text(json.dumps({**make_spec().plain(), "budgets": 3}))
    elif damage == "settings of one machine":
        (tmp_path / SUBMISSION_FILE).write_text(json.dumps(asdict(Submission())))
    else:
        (tmp_path / SUBMISSION_FILE).unlink()
    plain = bptt("drive", "--supervise")
    assert (plain.status, stopped) == (2, []), "whoever does not retry is told that it failed"
    answer = bptt("drive", "--supervise", "--retried")
    assert answer.status == 0
    assert answer.err == plain.err + "refused: running this job again would not help\n"
    assert stopped == [("http://127.0.0.1:8265", "bptt-test-1")]


def test_a_sweep_that_its_driver_refuses_is_not_run_again(
    ledger: Ledger, bptt: Bptt, monkeypatch: pytest.MonkeyPatch, stopped: list[tuple[str, str]]
) -> None:
    driving(monkeypatch, 2)
    assert bptt("drive", "--supervise").status == 2
    assert bptt("drive", "--supervise", "--retried").status == 0
    assert stopped == [("http://127.0.0.1:8265", "bptt-test-1")]


def test_a_refused_job_that_cannot_be_stopped_has_not_failed_either(
    ledger: Ledger, bptt: Bptt, monkeypatch: pytest.MonkeyPatch
) -> None:
    driving(monkeypatch, 2)
    monkeypatch.delenv("BPTT_JOB", raising=False)
    monkeypatch.setattr(jobs, "ON_THE_HEAD", "http://127.0.0.1:1")
    answer = bptt("drive", "--supervise", "--retried")
    assert answer.status == 0
    assert "it could not be stopped: address: http://127.0.0.1:1 cannot be reached" in answer.err


@pytest.mark.parametrize("status", [0, 1, 130])
def test_any_other_end_is_told_as_it_is(
    ledger: Ledger, bptt: Bptt, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    driven = driving(monkeypatch, status)
    assert bptt("drive", "--supervise", "--retried").status == status
    assert driven == ["test"]


def test_a_sweep_whose_driver_was_lost_with_a_request_to_stop_stays_stopped(
    ledger: Ledger, bptt: Bptt, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven = driving(monkeypatch, 0)
    ledger.update("test", state="running", owner=GONE, expires=time.time() - 1, stop_requested=1)
    answer = bptt("drive", "--supervise", "--retried")
    assert answer.status == 0
    assert "was asked to stop before its driver was lost" in answer.out
    assert driven == []
    assert ledger.sweep("test").state == "interrupted"
    assert bptt("drive", "--supervise", "--retried").status == 0
    assert driven == ["test"], "another job goes on with it"
