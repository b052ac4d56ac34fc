"""The loop: budgets, pruning, failures of every kind, losing workers, stopping and going on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.checkpoints import CheckpointStorage
from orchestrator.driver import Driver
from orchestrator.errors import BpttError
from orchestrator.executors.local import LocalExecutor
from orchestrator.ledger import Ledger
from orchestrator.room import Room
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.study import load_study, read_sweep
from orchestrator.sweep import Event, Happening
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import Assignment, Failure, Reply, TrialState
from orchestrator.worker import Worker
from tests.fakes import KIND, Scripted
from tests.orchestrator.conftest import Drive, make_spec, states, swept


def test_a_sweep_uses_its_budget_and_finds_the_best(drive: Drive) -> None:
    driver = drive(make_spec())
    trials = swept(driver).trials
    assert [trial.number for trial in trials] == list(range(6))
    assert all(trial.state is TrialState.COMPLETE and len(trial.evaluations) == 5 for trial in trials)
    assert driver.outcome is not None
    assert driver.outcome.state == "finished"
    assert driver.outcome.best is min(trials, key=lambda trial: trial.chosen["quality"])


def test_direction_maximize_is_honoured(drive: Drive) -> None:
    driver = drive(make_spec(objective={"metric": "valid_score"}))
    assert driver.outcome is not None
    assert driver.outcome.best is min(swept(driver).trials, key=lambda trial: trial.chosen["quality"])


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "grid", "cmaes"])
def test_every_sampler_runs_a_space_of_every_kind(sampler: str, drive: Drive) -> None:
    space: dict[str, Any] = {
        "quality": {"float": [0.1, 1.0], "step": 0.3},
        "cell_type": ["rnn", "gru"],
        "hidden_size": {"int": [8, 16], "step": 8},
    }
    driver = drive(make_spec(space=space, search={"sampler": sampler}, budget={"trials": 14, "evaluations": 1}))
    assert states(driver) == {TrialState.COMPLETE: 14}
    assert all(set(trial.chosen) == set(space) for trial in swept(driver).trials)
    if sampler == "grid":
        assert len({tuple(trial.chosen.items()) for trial in swept(driver).trials}) == 14


def test_a_grid_ends_when_it_is_exhausted(drive: Drive) -> None:
    driver = drive(make_spec(space={"quality": [0.1, 0.2, 0.3]}, search={"sampler": "grid"}))
    assert sorted(trial.chosen["quality"] for trial in swept(driver).trials) == [0.1, 0.2, 0.3]
    assert driver.outcome is not None
    assert driver.outcome.state == "finished"


@pytest.mark.parametrize("pruner", ["median", "percentile", "successive_halving", "hyperband", "patient"])
def test_every_pruner_prunes_on_the_common_grid(pruner: str, drive: Drive) -> None:
    # Good settings first, then hopeless ones: a grid in order of the choices would hide nothing.
    spec = make_spec(
        space={"quality": {"float": [0.1, 100.0]}},
        search={"sampler": "random", "pruner": pruner, "seed": 1},
        budget={"trials": 30, "evaluations": 9},
    )
    driver = drive(spec, LocalExecutor(1))
    pruned = [trial for trial in swept(driver).trials if trial.state is TrialState.PRUNED]
    if pruner == "patient":  # waits for a loss that stops falling, and these always fall
        assert not pruned
    else:
        assert pruned
        assert all(len(trial.evaluations) < 9 and "not promising" in trial.reason for trial in pruned)
    assert driver.outcome is not None
    assert driver.outcome.best not in pruned


def test_a_pruned_trial_frees_its_worker(drive: Drive) -> None:
    spec = make_spec(
        space={"quality": {"float": [0.1, 100.0]}},
        search={"sampler": "random", "pruner": "median", "seed": 1},
        budget={"trials": 20, "evaluations": 6},
    )
    executor = LocalExecutor(1)
    driver = drive(spec, executor)
    assert states(driver)[TrialState.PRUNED] > 0
    assert sum(states(driver).values()) == 20


@pytest.mark.parametrize(
    ("fate", "state", "reason"),
    [
        ("diverge", TrialState.DIVERGED, "the loss became nan"),
        ("nan", TrialState.DIVERGED, "valid_loss is nan"),
        ("memory", TrialState.OUT_OF_MEMORY, "a terabyte"),
        ("raise", TrialState.FAILED, "KeyError"),
    ],
)
def test_a_failing_trial_is_told_with_its_reason_and_the_sweep_goes_on(
    fate: str, state: TrialState, reason: str, drive: Drive, sweep_settings: Settings
) -> None:
    space: dict[str, Any] = {"quality": {"float": [0.1, 1.0]}, "fate": ["none", fate]}
    driver = drive(make_spec(space=space, budget={"trials": 12, "evaluations": 3}))
    ended = {trial.chosen["fate"]: trial for trial in swept(driver).trials}
    assert ended["none"].state is TrialState.COMPLETE
    assert ended[fate].state is state
    assert reason in ended[fate].reason
    ledger = Ledger(sweep_settings.study_url)
    _, again = read_sweep(ledger, "test")
    assert [(trial.state, trial.reason) for trial in again] == [
        (trial.state, trial.reason) for trial in swept(driver).trials
    ]
    optuna_state = load_study(ledger, "test").trials[ended[fate].number]
    assert optuna_state.state.name == ("FAIL" if fate == "raise" else "PRUNED")
    assert bool(optuna_state.constraints) == (fate != "raise")


def test_a_sweep_in_which_everything_fails_says_why_instead_of_going_on(drive: Drive) -> None:
    spec = make_spec(space={"quality": {"float": [0.1, 1.0]}}, train={"fate": "raise", "at": 0}, budget={"trials": 50})
    with pytest.raises(BpttError, match="5 trials in a row failed, the last with: KeyError"):
        drive(spec)


class DyingExecutor(LocalExecutor):
    """Loses a worker at every evaluation whose turn is in `deaths`."""

    def __init__(self, deaths: set[int]) -> None:
        super().__init__(2)
        self.deaths = deaths
        self.turn = 0
        self.started: list[Assignment] = []

    def start(self, assignment: Assignment) -> None:
        self.started.append(assignment)
        super().start(assignment)

    def wait(self, timeout_s: float) -> list[tuple[int, Reply]]:
        self.turn += 1
        replies = super().wait(timeout_s)
        if self.turn in self.deaths:
            return [(number, Failure(TrialState.LOST, "the worker died")) for number, _ in replies]
        return replies


def test_a_lost_trial_is_resumed_from_its_last_checkpoint_under_its_number(drive: Drive) -> None:
    executor = DyingExecutor({1, 6, 7, 15, 22})
    driver = drive(make_spec(), executor)
    assert states(driver) == {TrialState.COMPLETE: 6}
    for trial in swept(driver).trials:
        assert [progress.evaluation for progress in trial.evaluations] == list(range(5))
    assert len(executor.started) == 6 + 5
    assert any(assignment.resume_from for assignment in executor.started)


def test_a_trial_that_kills_every_worker_is_told_as_failed(drive: Drive) -> None:
    driver = drive(make_spec(budget={"trials": 3, "evaluations": 2}), DyingExecutor(set(range(1, 6))))
    assert states(driver)[TrialState.FAILED] >= 1
    assert states(driver)[TrialState.FAILED] + states(driver)[TrialState.COMPLETE] == 3


def test_a_stopped_sweep_goes_on_where_it_stopped(drive: Drive, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    spec = make_spec(workload={"kind": KIND, "marks": str(marks)})
    evaluated = Counter[str]()

    def third(event: Any) -> bool:
        evaluated[event.happening] += 1
        return evaluated[Happening.EVALUATED] == 8

    stopped = drive(spec, until=third)
    assert stopped.outcome is not None
    assert (stopped.outcome.state, stopped.outcome.message) == ("interrupted", "the test said so")
    finished = drive(spec)
    assert finished.outcome is not None
    assert finished.outcome.state == "finished"
    assert [trial.number for trial in swept(finished).trials] == list(range(6))
    assert len(list(marks.iterdir())) == 6 * 5  # no evaluation was trained twice


def test_stopping_does_not_change_what_is_sampled(drive: Drive, tmp_path: Path) -> None:
    for sampler in ("tpe", "random"):
        whole = drive(make_spec(name=f"{sampler}-whole", search={"sampler": sampler, "seed": 5}), LocalExecutor(1))
        name = f"{sampler}-stopped"
        for _ in range(3):
            stopped = drive(
                make_spec(name=name, search={"sampler": sampler, "seed": 5}),
                LocalExecutor(1),
                until=lambda event: event.happening is Happening.ENDED,
            )
        stopped = drive(make_spec(name=name, search={"sampler": sampler, "seed": 5}), LocalExecutor(1))
        assert [trial.chosen for trial in swept(stopped).trials] == [trial.chosen for trial in swept(whole).trials]


def test_only_the_last_checkpoint_of_the_best_trial_is_kept(drive: Drive) -> None:
    spec = make_spec(space={"quality": {"choice": [1.0]}}, budget={"trials": 2, "evaluations": 5})
    first, second = (
        [Path(progress.checkpoint.removeprefix("file://")).exists() for progress in trial.evaluations]
        for trial in swept(drive(spec)).trials
    )
    assert first == [False, False, False, False, True]
    assert second == [False, False, False, False, False]  # as good as the best is not better


def test_a_full_disk_stops_the_sweep_and_costs_no_trial(
    drive: Drive, sweep_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    def third(event: Event) -> bool:
        if event.happening is Happening.EVALUATED:
            with_space.setattr(CheckpointStorage, "write", full)
        return False

    with monkeypatch.context() as with_space, pytest.raises(BpttError, match="No space left on device"):
        drive(make_spec(), until=third)
    _, trials = read_sweep(Ledger(sweep_settings.study_url), "test")
    assert {trial.state for trial in trials} == {TrialState.RUNNING}
    driver = drive(make_spec())
    assert states(driver) == {TrialState.COMPLETE: 6}


def test_a_workload_that_begins_anew_instead_of_going_on_is_told_so(drive: Drive) -> None:
    spec = make_spec(workload={"kind": f"{__name__}:BeginsAnew"}, budget={"trials": 1})
    first = drive(spec, until=lambda event: event.happening is Happening.EVALUATED)
    assert first.outcome is not None
    assert first.outcome.state == "interrupted"
    [trial] = swept(drive(spec)).trials
    assert trial.state is TrialState.FAILED
    assert "gave evaluation 0 where" in trial.reason


class BeginsAnew(Scripted):
    """A workload of the user's own that forgot to look at resume_from."""

    def train(self, params: Any, dataset: Any, storage: Any, resume_from: str | None = None) -> Any:
        return super().train(params, dataset, storage, None)


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


def test_what_a_sweep_waits_for_is_told_once(drive: Drive) -> None:
    class Full(LocalExecutor):
        """Has no room at first."""

        turn = 0

        @property
        def slots(self) -> int:
            return 2 if self.turn > 3 else 0

        @property
        def waits_for(self) -> str:
            return "" if self.turn > 3 else "no node has room"

        def wait(self, timeout_s: float) -> list[tuple[int, Reply]]:
            self.turn += 1
            return super().wait(timeout_s)

    told: list[str] = []

    def listen(event: Event) -> bool:
        told.extend([event.message] * (event.happening is Happening.WAITING))
        return False

    driver = drive(make_spec(), Full(2), until=listen)
    assert told == ["no node has room"]
    assert states(driver) == {TrialState.COMPLETE: 6}


class Counting(LocalExecutor):
    """Notes which trials are under way together."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self.qualities: dict[int, float] = {}
        self.together: list[float] = []

    def start(self, assignment: Assignment) -> None:
        super().start(assignment)
        self.qualities[assignment.number] = assignment.params["quality"]
        self.together.append(sum(self.qualities.values()))

    def release(self, number: int) -> None:
        super().release(number)
        self.qualities.pop(number, None)


def drive_in(room: Room, spec: SweepSpec, settings: Settings, executor: LocalExecutor) -> Driver:
    """Drive with this room, whatever the workload says of its sizes."""
    driver = Driver(settings, spec, executor=executor, tracker=NoTracker())
    with driver:
        swept(driver).room = room
        for _ in driver.run():
            pass
    return driver


def test_what_can_never_fit_is_told_infeasible_without_a_start_and_counts_as_a_trial(sweep_settings: Settings) -> None:
    spec = make_spec(budget={"trials": 12, "evaluations": 2})
    executor = Counting(2)
    driver = drive_in(Room(lambda params: params["quality"], 0.6), spec, sweep_settings, executor)
    trials = swept(driver).trials
    assert len(trials) == 12
    refused = [trial for trial in trials if trial.params["quality"] > 0.6]
    assert 0 < len(refused) < 12
    assert len(executor.together) == 12 - len(refused)
    for trial in refused:
        assert trial.state is TrialState.OUT_OF_MEMORY
        assert "memory predicted" in trial.reason
        told = load_study(Ledger(sweep_settings.study_url), "test").trials[trial.number]
        assert (told.state.name, bool(told.constraints)) == ("PRUNED", True)
    assert all(trial.state is TrialState.COMPLETE for trial in trials if trial not in refused)


def test_a_trial_without_room_waits_until_others_end_and_none_is_lost(sweep_settings: Settings) -> None:
    spec = make_spec(budget={"trials": 12, "evaluations": 3})
    executor = Counting(4)
    driver = drive_in(Room(lambda params: params["quality"], 1.2, together=4), spec, sweep_settings, executor)
    assert states(driver) == {TrialState.COMPLETE: 12}
    assert max(executor.together) <= 1.2
    assert any(total > 1 for total in executor.together)  # small ones did share


def test_a_trial_that_was_refused_stays_so_and_one_that_waited_is_trained_when_the_sweep_goes_on(
    sweep_settings: Settings, drive: Drive
) -> None:
    spec = make_spec(budget={"trials": 8, "evaluations": 3})
    driver = Driver(sweep_settings, spec, executor=LocalExecutor(2), tracker=NoTracker())
    with driver:
        swept(driver).room = Room(lambda params: params["quality"], 0.9, together=2)
        for event in driver.run():
            if event.happening is Happening.EVALUATED and len(swept(driver).trials) > 3:
                driver.stop("the test said so")
    before = {trial.number: trial.state for trial in swept(driver).trials}
    again = drive(spec)
    for trial in swept(again).trials:
        was = before.get(trial.number)
        assert trial.state is (was if was is TrialState.OUT_OF_MEMORY else TrialState.COMPLETE)
