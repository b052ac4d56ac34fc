"""Where trials go on: from an older checkpoint where the last are lost or altered, and in the middle of an interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.checkpoints.storage import CheckpointStorage
from orchestrator.database.ledger import Ledger
from orchestrator.event import Event, Happening
from orchestrator.executors.local import LocalExecutor
from orchestrator.settings import Settings
from orchestrator.trial import Assignment, Reply, TrialState
from orchestrator.worker import Worker
from tests.fakes import KIND
from tests.orchestrator.conftest import Drive, make_spec, states, swept


@pytest.mark.parametrize("lost", [1, 2])
def test_a_trial_whose_last_checkpoints_are_gone_goes_on_from_an_older_one_or_anew(
    lost: int, drive: Drive, sweep_settings: Settings, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    budget = {"trials": 2, "sequence_steps": 5000, "evaluations": 5}
    spec = make_spec(workload={"kind": KIND, "marks": str(marks)}, budget=budget)
    seen = 0

    def third_of_the_first(event: Event) -> bool:
        nonlocal seen
        seen += event.happening is Happening.EVALUATED and event.trial is not None and event.trial.number == 0
        return seen == 3

    drive(spec, until=third_of_the_first)
    ledger = Ledger(sweep_settings.study_url)
    before = ledger.evaluations("test")
    assert len(before[0]) == 4  # one was under way
    for progress in before[0][-lost:]:
        CheckpointStorage(sweep_settings.checkpoints).within("test").delete(progress.checkpoint)
    trained = len(list(marks.iterdir()))
    driver = drive(spec)
    assert states(driver) == {TrialState.COMPLETE: 2}
    after = ledger.evaluations("test")
    # What was acknowledged stays as it was, but for the checkpoints that were made again.
    for old, new in zip(before[0], after[0], strict=False):
        assert replace(new, checkpoint="") == replace(old, checkpoint="")
    again = {1: 1, 2: 4}[lost]
    assert len(list(marks.iterdir())) - trained == 10 - sum(map(len, before.values())) + again
    kept = [path for path in (sweep_settings.runs / "checkpoints").rglob("*") if path.is_file()]
    assert len(kept) == 1


def torn(content: bytes) -> bytes:
    return content[:-1]


def flipped(content: bytes) -> bytes:
    return bytes([content[0] ^ 4]) + content[1:]  # 4 evaluations were trained, or 0


@pytest.mark.parametrize("harm", [torn, flipped])
@pytest.mark.parametrize("harmed", [1, 2])
def test_a_trial_whose_last_checkpoints_are_altered_ends_as_if_they_were_not(
    harmed: int, harm: Callable[[bytes], bytes], drive: Drive, sweep_settings: Settings
) -> None:
    budget = {"trials": 2, "sequence_steps": 6000, "evaluations": 6}
    seen = 0

    def fourth(event: Event) -> bool:
        nonlocal seen
        seen += event.happening is Happening.EVALUATED
        return seen == 4

    whole = drive(make_spec(name="whole", budget=budget), LocalExecutor(1))
    drive(make_spec(budget=budget), LocalExecutor(1), until=fourth)
    ledger = Ledger(sweep_settings.study_url)
    for progress in ledger.evaluations("test")[0][-harmed:]:
        path = Path(progress.checkpoint.removeprefix("file://"))
        path.write_bytes(harm(path.read_bytes()))
    lost = []
    driver = drive(make_spec(budget=budget), LocalExecutor(1), until=lambda event: lost.append(event))
    messages = [event.message for event in lost if event.happening is Happening.LOST]
    assert len(messages) == harmed
    assert all("is not a whole checkpoint" in message for message in messages)
    for mine, theirs in zip(swept(driver).trials, swept(whole).trials, strict=True):
        assert mine.state is theirs.state is TrialState.COMPLETE
        assert [progress.metrics for progress in mine.evaluations] == [p.metrics for p in theirs.evaluations]
    files = [path for path in (sweep_settings.runs / "checkpoints" / "test").rglob("*") if path.is_file()]
    assert len(files) == 1


class LeavingExecutor(LocalExecutor):
    """Asks the worker to leave at the 100th update of every turn in `notices`; keeps where a trial went on from."""

    def __init__(self, notices: set[int]) -> None:
        super().__init__(1)
        self.notices = notices
        self.turn = self.updates_left = 0
        self.resumed: list[str | None] = []

    def start(self, assignment: Assignment) -> None:
        self.resumed.append(assignment.resume_from)
        super().start(assignment)
        worker = self._workers[assignment.number]

        def is_to_leave() -> bool:
            self.updates_left -= 1
            if self.updates_left == 0:
                worker.leave()
            return Worker._is_to_leave(worker)

        worker._is_to_leave = is_to_leave  # type: ignore[method-assign]

    def wait(self, timeout_s: float) -> list[tuple[int, Reply]]:
        self.turn += 1
        self.updates_left = 100 if self.turn in self.notices else 0
        return super().wait(timeout_s)


@pytest.mark.slow
def test_a_trial_given_notice_goes_on_in_the_middle_of_its_interval_and_gives_the_same(
    drive: Drive, text_file: Path, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {
        "workload": {"kind": "language_model", "text": str(text_file)},
        "space": {"truncation_length": [16]},
        "train": {"hidden_size": 8, "batch_size": 4},
        "budget": {"trials": 1, "sequence_steps": 80_000, "evaluations": 2},
        "search": {"sampler": "grid", "pruner": "none"},
    }
    executor = LeavingExecutor({1, 2, 4})
    moved = drive(make_spec(name="moved", **changes), executor)
    still = drive(make_spec(name="still", **changes))
    [with_notice], [without] = swept(moved).trials, swept(still).trials
    changing = ("sequence_steps_per_second", "peak_memory_mb")
    for one, other in zip(with_notice.evaluations, without.evaluations, strict=True):
        assert {name: of for name, of in one.metrics.items() if name not in changing} == {
            name: of for name, of in other.metrics.items() if name not in changing
        }
    assert [str(uri).rpartition("/")[2].rpartition("-")[0] for uri in executor.resumed[1:]] == [
        "part-way-00000",
        "part-way-00000",
        "part-way-00001",
    ]
    assert not swept(moved).losses
    assert not list(tmp_path.rglob("part-way*"))


def test_a_part_way_checkpoint_that_is_gone_costs_the_interval_and_no_evaluation(
    drive: Drive, text_file: Path, tmp_path: Path
) -> None:
    class Losing(LeavingExecutor):
        """Loses what was written part way."""

        def start(self, assignment: Assignment) -> None:
            for path in tmp_path.rglob("part-way*"):
                path.unlink()
            super().start(assignment)

    executor = Losing({2})
    driver = drive(
        make_spec(
            workload={"kind": "language_model", "text": str(text_file)},
            space={"truncation_length": [16]},
            train={"hidden_size": 8, "batch_size": 4},
            budget={"trials": 1, "sequence_steps": 80_000, "evaluations": 2},
            search={"sampler": "grid", "pruner": "none"},
        ),
        executor,
    )
    [trial] = swept(driver).trials
    assert trial.state is TrialState.COMPLETE
    assert len(executor.resumed) == 3
    assert executor.resumed[2] == trial.evaluations[0].checkpoint
