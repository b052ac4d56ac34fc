"""What a sweep leaves behind, and what `bptt clean` removes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.checkpoints import CheckpointStorage
from orchestrator.driver import Driver
from orchestrator.executors.local import LocalExecutor
from orchestrator.lease import Lease
from orchestrator.ledger import Ledger
from orchestrator.settings import Settings
from orchestrator.tracking.base import NoTracker
from tests.orchestrator.cli.conftest import Bptt
from tests.orchestrator.conftest import Drive, make_spec, swept


def kept(settings: Settings, sweep: str = "test") -> list[str]:
    return [file.name for file in CheckpointStorage(settings.checkpoints).within(sweep).files()]


def run(settings: Settings, spec: Any, *, evaluations: int | None = None) -> Driver:
    """Drive a sweep, to its end or until that many evaluations are there."""
    seen = 0
    with Driver(settings, spec, executor=LocalExecutor(2), tracker=NoTracker()) as driver:
        for _ in driver.run():
            seen = sum(len(trial.evaluations) for trial in swept(driver).trials)
            if evaluations is not None and seen >= evaluations:
                break
    return driver


def test_a_sweep_leaves_the_checkpoint_of_its_best_trial_alone(drive: Drive, sweep_settings: Settings) -> None:
    driver = drive(make_spec())
    best = swept(driver).best
    assert best is not None
    assert best.last is not None
    storage = CheckpointStorage(sweep_settings.checkpoints).within("test")
    assert kept(sweep_settings) == [storage.name_of(best.last.checkpoint)]
    assert storage.read(best.last.checkpoint) == b"5"


def test_all_ended_trials_keep_their_last_where_that_is_asked_for(sweep_settings: Settings) -> None:
    run(sweep_settings.model_copy(update={"keep": "all"}), make_spec())
    assert [name.partition("/")[0] for name in kept(sweep_settings)] == [f"trial-{number:05d}" for number in range(6)]


def test_an_unfinished_trial_keeps_its_last_two(sweep_settings: Settings) -> None:
    driver = run(sweep_settings, make_spec(), evaluations=7)
    for trial in swept(driver).trials:
        if not trial.state.is_final and len(trial.evaluations) > 1:
            assert sum(f"trial-{trial.number:05d}/" in name for name in kept(sweep_settings)) == 2


def test_the_next_driver_deletes_what_a_killed_one_did_not(
    sweep_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(CheckpointStorage, "delete", lambda *_: False)  # as if killed before each deletion
        run(sweep_settings, make_spec(), evaluations=20)
        assert len(kept(sweep_settings)) >= 20
    run(sweep_settings, make_spec())
    assert len(kept(sweep_settings)) == 1


def age(settings: Settings, name: str, hours: float = 24) -> None:
    path = Path(settings.checkpoints.removeprefix("file://"), name)
    past = time.time() - hours * 3600
    os.utime(path, (past, past))


def place(settings: Settings, name: str, hours: float = 24) -> None:
    folder, _, file = name.rpartition("/")
    CheckpointStorage(settings.checkpoints).within(folder).write(file, b"1")
    age(settings, name, hours)


def test_cleaning_removes_orphans_and_superseded_files_and_nothing_else(
    bptt: Bptt, drive: Drive, sweep_settings: Settings
) -> None:
    drive(make_spec())
    (best,) = kept(sweep_settings)
    place(sweep_settings, "test/trial-00004/evaluation-0.ckpt")
    place(sweep_settings, "test/trial-00004/evaluation-9.ckpt.77.part")
    place(sweep_settings, "test/trial-00004/evaluation-new.ckpt", hours=0)
    place(sweep_settings, "gone/trial-00000/evaluation-1.ckpt")
    place(sweep_settings, "mine/notes.txt")
    planned = json.loads(bptt("clean", "--dry-run", "--json").out)
    assert {each["sweep"]: each["removable"]["files"] for each in planned} == {"gone": 0, "test": 2}
    assert len(kept(sweep_settings)) == 4
    answer = bptt("clean")
    assert answer.status == 0
    assert "removed 2 files" in answer.out
    assert kept(sweep_settings) == sorted([best, "trial-00004/evaluation-new.ckpt"])
    assert kept(sweep_settings, "gone") == ["trial-00000/evaluation-1.ckpt"]
    assert bptt("clean", "gone", "--orphans").status == 0
    assert kept(sweep_settings, "gone") == []
    assert kept(sweep_settings, "mine") == ["notes.txt"]
    assert "nothing to remove" in bptt("clean").out


def test_cleaning_leaves_what_a_driven_sweep_may_need(bptt: Bptt, sweep_settings: Settings) -> None:
    run(sweep_settings.model_copy(update={"keep": "all"}), make_spec())
    place(sweep_settings, "test/trial-00000/evaluation-orphan.ckpt")
    before = kept(sweep_settings)
    lease = Lease(Ledger(sweep_settings.study_url), "test")
    lease.take()
    try:
        assert "nothing to remove" in bptt("clean").out
        assert kept(sweep_settings) == before
    finally:
        lease.give_back("interrupted")
    assert bptt("clean").status == 0
    assert len(kept(sweep_settings)) == 1


def test_cleaning_a_sweep_that_is_nowhere_is_refused_in_one_line(bptt: Bptt, drive: Drive) -> None:
    drive(make_spec())
    answer = bptt("clean", "nowhere")
    assert (answer.status, answer.err) == (2, "bptt: no sweep is called nowhere; there are test\n")


def test_a_trial_whose_checkpoint_was_not_kept_is_told_of(bptt: Bptt, drive: Drive) -> None:
    best = swept(drive(make_spec())).best
    assert best is not None
    other = (best.number + 1) % 6
    answer = bptt("predict", "test", "--trial", other)
    assert answer.status == 2
    assert "checkpoint was not kept" in answer.err
    assert f"the best is trial {best.number}" in answer.err
    assert "has no such trial; there are 0 to 5" in bptt("predict", "test", "--trial", 77).err
    assert bptt("predict", "test", "--trial", best.number, "--json").status == 0
