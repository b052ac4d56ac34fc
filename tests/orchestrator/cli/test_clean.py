"""`bptt clean`, and predictions from trials whose checkpoint was kept or not."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from orchestrator.checkpoints.storage import CheckpointStorage
from orchestrator.database.ledger import Ledger
from orchestrator.database.processes import own_name
from orchestrator.driver import Driver
from orchestrator.event import Event
from orchestrator.executors.local import LocalExecutor
from orchestrator.settings import Settings
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import best_trial
from tests.orchestrator.cli.conftest import Bptt
from tests.orchestrator.conftest import Drive, make_spec, swept

BUDGET = {"trials": 3, "sequence_steps": 3000, "evaluations": 3}


@pytest.fixture
def folder(sweep_settings: Settings) -> Path:
    return sweep_settings.runs / "checkpoints"


def checkpoints(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def leave(path: Path, hours: float = 10.0) -> Path:
    """Leave a file that is some hours old."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 1000)
    os.utime(path, (time.time() - hours * 3600,) * 2)
    return path


@pytest.fixture
def littered(drive: Drive, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Drive a sweep whose deletions all fail, and leave other files; return what is to stay."""
    with monkeypatch.context() as undeletable:
        undeletable.setattr(CheckpointStorage, "delete", lambda *_: False)
        driver = drive(make_spec(budget=BUDGET))
    best = best_trial(swept(driver).trials, "valid_loss", "minimize")
    assert best is not None
    assert best.last is not None
    stays = [
        best.last.checkpoint.removeprefix(f"{folder.as_uri()}/"),
        "elsewhere/trial-00000/old",
        "mine.txt",
        "test/notes",
        "test/trial-00000/young",
    ]
    leave(folder / "test" / "trial-00000" / "young", hours=1.0)
    leave(folder / "test" / "trial-00000" / "old.ckpt.17.part")
    leave(folder / "elsewhere" / "trial-00000" / "old")
    leave(folder / "mine.txt")
    leave(folder / "test" / "notes")
    return sorted(stays)


def test_what_no_sweep_needs_is_removed_and_nothing_else(bptt: Bptt, folder: Path, littered: list[str]) -> None:
    before = checkpoints(folder)
    tried = bptt("clean", "--dry-run")
    assert tried.status == 0
    assert "would remove 9 files, 1." in tried.out
    assert "elsewhere" in tried.out
    assert checkpoints(folder) == before
    done = bptt("clean")
    assert (done.status, done.err) == (0, "")
    assert "removed 9 files" in done.out
    assert checkpoints(folder) == littered
    assert "nothing to remove" in bptt("clean").out


def test_sweeps_that_the_database_does_not_know_go_only_when_asked_for(
    bptt: Bptt, folder: Path, littered: list[str]
) -> None:
    assert bptt("clean", "elsewhere").out.count("nothing to remove") == 1
    assert bptt("clean", "elsewhere", "--orphans", "--older-than", 11).out.count("nothing to remove") == 1
    answer = bptt("clean", "elsewhere", "--orphans", "--json")
    [entry] = json.loads(answer.out)
    assert (entry["sweep"], entry["state"]) == ("elsewhere", "unknown")
    assert entry["removed"] == {"files": 1, "bytes": 1000}
    assert not (folder / "elsewhere").exists()
    assert (folder / "mine.txt").exists()
    assert "test/trial-00000/old.ckpt.17.part" in checkpoints(folder)  # of another sweep than was named


def test_of_a_sweep_that_is_driven_only_what_was_superseded_long_ago_goes(
    bptt: Bptt, folder: Path, littered: list[str], sweep_settings: Settings
) -> None:
    ledger = Ledger(sweep_settings.study_url)
    ledger.update("test", owner=own_name(), expires=time.time() + 600, state="running")
    old = list((folder / "test").rglob("evaluation-0-*"))
    for path in old:
        os.utime(path, (time.time() - 36_000,) * 2)
    before = checkpoints(folder)
    [_, entry] = json.loads(bptt("clean", "--json").out)
    assert (entry["state"], entry["superseded"]["files"], entry["orphans"]["files"]) == ("running", len(old), 0)
    assert set(before) - set(checkpoints(folder)) == {str(path.relative_to(folder)) for path in old}


def test_an_unfinished_trial_keeps_what_it_goes_on_from(bptt: Bptt, folder: Path, drive: Drive) -> None:
    def first(event: Event) -> bool:
        return event.trial is not None and len(event.trial.evaluations) == 1

    drive(make_spec(budget=BUDGET), LocalExecutor(1), until=first)
    before = checkpoints(folder)
    assert len(before) == 2
    assert "nothing to remove" in bptt("clean", "--older-than", 0).out
    assert checkpoints(folder) == before


def test_what_a_sweep_was_run_to_keep_stays_until_it_is_told_otherwise(
    bptt: Bptt, folder: Path, sweep_settings: Settings
) -> None:
    settings = sweep_settings.model_copy(update={"keep": "all"})
    with Driver(settings, make_spec(budget=BUDGET), executor=LocalExecutor(2), tracker=NoTracker()) as driver:
        for _ in driver.run():
            pass
    assert "nothing to remove" in bptt("clean").out
    assert len(checkpoints(folder)) == 3
    bptt("clean", "--keep", "best")
    assert len(checkpoints(folder)) == 1


def test_the_last_checkpoint_of_every_trial_stays_where_that_is_wanted(
    bptt: Bptt, folder: Path, littered: list[str]
) -> None:
    bptt("clean", "--keep", "all")
    assert len([name for name in checkpoints(folder) if "/evaluation-2-" in name]) == 3
    assert len([name for name in checkpoints(folder) if "/evaluation-" in name]) == 3


def test_a_name_that_is_nowhere_and_a_database_that_is_not_there_are_told(bptt: Bptt, littered: list[str]) -> None:
    answer = bptt("clean", "nowhere")
    assert answer.status == 2
    assert answer.err == "bptt: no sweep is called nowhere; there are elsewhere, test\n"
    answer = bptt("clean", "--study-url", "sqlite:////nowhere/study.db")
    assert answer.status == 2
    assert "there are no sweeps yet" in answer.err


def test_a_trial_predicts_where_its_checkpoint_was_kept(bptt: Bptt, drive: Drive, tmp_path: Path) -> None:
    driver = drive(make_spec(budget=BUDGET))
    best = best_trial(swept(driver).trials, "valid_loss", "minimize")
    assert best is not None
    source = tmp_path / "table.csv"
    source.write_text("x\n2\n")
    assert bptt("predict", "test", source, "--trial", best.number).out == "y\n6\n"
    other = next(trial.number for trial in swept(driver).trials if trial is not best)
    answer = bptt("predict", "test", source, "--trial", other)
    assert answer.status == 2
    assert f"--trial {other}: its checkpoint was not kept (complete); the best is trial {best.number}" in answer.err
    assert answer.err.count("\n") == 1
    answer = bptt("predict", "test", source, "--trial", 77)
    assert answer.status == 2
    assert "test has no such trial; there are 0 to 2" in answer.err
