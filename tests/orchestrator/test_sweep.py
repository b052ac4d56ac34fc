"""The loop: budgets, pruning, failures of every kind, losing workers, stopping and going on."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import lease as lease_module
from orchestrator.checkpoints import CheckpointStorage
from orchestrator.driver import Driver, claim
from orchestrator.errors import BpttError, LeaseLost, SpecChanged, SweepHeld, UserError
from orchestrator.executors.local import LocalExecutor
from orchestrator.lease import Lease
from orchestrator.ledger import Ledger
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.study import SweepStudy, load_study, read_sweep
from orchestrator.sweep import Event, Happening, Sweep
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import Assignment, Failure, Job, Reply, TrialState
from tests.fakes import KIND, Scripted
from tests.orchestrator.conftest import Drive, make_spec
from workloads.protocol import Dataset, Progress


def swept(driver: Driver) -> Sweep:
    assert driver.sweep is not None
    return driver.sweep


def states(driver: Driver) -> Counter[TrialState]:
    return Counter(trial.state for trial in swept(driver).trials)


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


class UnwantedExecutor(LocalExecutor):
    """Is not to be opened."""

    def open(self, job: Job) -> None:
        raise AssertionError("there is nothing to train")


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


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_a_kill_before_a_trial_was_written_leaves_nothing_of_it_and_the_next_driver_asks_the_same(
    sampler: str, sweep_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(space={name: {"float": [0.1, 1.0]} for name in ("quality", "at")}, search={"sampler": sampler})
    ledger = Ledger(sweep_settings.study_url)
    lease = Lease(ledger, "test")
    claim(ledger, spec, lease)
    asked = []
    for kill in (True, False):
        study = SweepStudy(ledger, spec, lease.owner)
        assert study.records() == []
        if kill:
            wrote = study._database.create_new_trial
            monkeypatch.setattr(study._database, "create_new_trial", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                study.ask()
            monkeypatch.setattr(study._database, "create_new_trial", wrote)
            asked.append(study._memory.get_all_trials(0)[0].params)
        else:
            asked.append(dict(study.ask().chosen))
    assert asked[0] == asked[1]


@pytest.mark.parametrize("search", [("cmaes", "none"), ("qmc", "none"), ("tpe", "successive_halving")])
def test_what_samplers_and_pruners_note_is_there_for_the_next_driver(
    search: tuple[str, str], drive: Drive, sweep_settings: Settings
) -> None:
    spec = make_spec(
        space={name: {"float": [0.1, 1.0]} for name in ("quality", "at")},
        search=dict(zip(("sampler", "pruner"), search, strict=True)),
        budget={"trials": 9, "evaluations": 9},
    )
    driver = drive(spec)
    kept = SweepStudy(Ledger(sweep_settings.study_url), spec, "me")
    kept.records()
    before, after = swept(driver).study, kept
    notes = [study._memory.get_study_system_attrs(study._memory_study) for study in (before, after)]
    assert notes[0] == notes[1]
    for old, new in zip(before.study.trials, after.study.trials, strict=True):
        assert (old.system_attrs, old.params, old.values) == (new.system_attrs, new.params, new.values)
        assert (old.state, old.intermediate_values) == (new.state, new.intermediate_values)


def test_an_evaluation_acknowledged_but_not_reported_is_not_trained_again(
    drive: Drive, sweep_settings: Settings
) -> None:
    """A kill between the two writes of one evaluation: the ledger has it, Optuna does not."""
    spec = make_spec(budget={"trials": 1, "evaluations": 5})
    stopped = drive(spec, until=lambda event: event.happening is Happening.EVALUATED)
    [trial] = swept(stopped).trials
    last = trial.evaluations[-1]
    ledger = Ledger(sweep_settings.study_url)
    checkpoint = swept(stopped).checkpoints.within("trial-00000").write("lost", str(last.evaluation + 2).encode())
    lost = Progress(last.evaluation + 1, last.sequence_steps + 1000, last.metrics, checkpoint, last.time)
    ledger.update("test", owner="me")
    ledger.record("test", 0, lost, owner="me")
    ledger.update("test", owner=None)
    finished = drive(spec)
    [trial] = swept(finished).trials
    assert [progress.evaluation for progress in trial.evaluations] == list(range(5))
    assert sorted(load_study(ledger, "test").trials[0].intermediate_values) == [1, 2, 3, 4, 5]


def test_only_the_last_checkpoint_of_an_ended_trial_is_kept(drive: Drive) -> None:
    for trial in swept(drive(make_spec(budget={"trials": 2, "evaluations": 5}))).trials:
        there = [Path(progress.checkpoint.removeprefix("file://")).exists() for progress in trial.evaluations]
        assert there == [False, False, False, False, True]


def test_a_changed_spec_is_refused_with_the_difference(drive: Drive) -> None:
    drive(make_spec())
    with pytest.raises(SpecChanged, match=r"search\.seed: 3 -> 4"):
        drive(make_spec(search={"sampler": "random", "pruner": "none", "seed": 4}))


def test_other_data_under_the_same_name_are_refused(tmp_path: Path, sweep_settings: Settings, text_file: Path) -> None:
    spec = make_spec(
        workload={"kind": "language_model", "text": str(text_file)},
        space={"hidden_size": [4, 8]},
        train={"truncation_length": 8, "batch_size": 4},
        budget={"trials": 1, "sequence_steps": 1000, "evaluations": 1},
    )
    for expected in ("finished", "refused"):
        driver = Driver(sweep_settings, spec, executor=LocalExecutor(), tracker=NoTracker())
        if expected == "refused":
            text_file.write_text(text_file.read_text() + "more of it")
            with pytest.raises(UserError, match="the data have changed"), driver:
                pass
            return
        with driver:
            list(driver.run())


def test_a_sweep_without_trials_takes_a_mended_file(sweep_settings: Settings, text_file: Path, drive: Drive) -> None:
    """A typo is found when the data are read; the name must not be burnt by it."""

    def spec(text: str) -> SweepSpec:
        return make_spec(
            workload={"kind": "language_model", "text": text},
            space={"hidden_size": [4, 8]},
            train={"truncation_length": 8, "batch_size": 4},
            budget={"trials": 1, "sequence_steps": 1000, "evaluations": 1},
        )

    with pytest.raises(UserError, match="is neither a file"):
        drive(spec("no such text"))
    outcome = drive(spec(str(text_file))).outcome
    assert outcome is not None
    assert outcome.state == "finished"


def test_resources_may_differ_when_a_sweep_goes_on_elsewhere(drive: Drive) -> None:
    drive(make_spec(), until=lambda event: event.happening is Happening.EVALUATED)
    outcome = drive(make_spec(resources={"cpus": 2})).outcome
    assert outcome is not None
    assert outcome.state == "finished"


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


def test_a_trial_killed_in_the_middle_of_being_told_may_end_otherwise(
    sweep_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec()
    ledger = Ledger(sweep_settings.study_url)
    lease = Lease(ledger, "test")
    claim(ledger, spec, lease)
    study = SweepStudy(ledger, spec, lease.owner)
    trial = study.ask()
    monkeypatch.setattr(study._database, "set_trial_state_values", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        study.tell(trial, TrialState.OUT_OF_MEMORY, "a terabyte was asked for")
    again = SweepStudy(ledger, spec, lease.owner)
    [trial] = again.records()
    assert trial.state is TrialState.RUNNING
    again.record(trial, Progress(0, 1000, {"valid_loss": 0.5}, "file:///x", 1.0))
    again.tell(trial, TrialState.COMPLETE)
    _, [read] = read_sweep(ledger, "test")
    assert (read.state, read.reason) == (TrialState.COMPLETE, "")
    third = SweepStudy(ledger, spec, lease.owner)
    third.records()
    assert third.study.trials[0].constraints == {}


def test_a_driver_that_slept_through_its_lease_writes_nothing(sweep_settings: Settings) -> None:
    ledger = Ledger(sweep_settings.study_url)
    before = {}
    with Driver(sweep_settings, make_spec(), executor=LocalExecutor(), tracker=NoTracker()) as first:
        events = first.run()
        while next(events).happening is not Happening.EVALUATED:
            pass
        ledger.update("test", owner="another")
        before = ledger.evaluations("test")
        with pytest.raises(LeaseLost):
            list(events)
    assert ledger.evaluations("test") == before
    assert ledger.sweep("test").owner == "another"


def test_the_lease_is_renewed_while_data_are_prepared(
    sweep_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "RENEW_EVERY_S", 0.1)
    driver = Driver(sweep_settings, make_spec(), executor=LocalExecutor(), tracker=NoTracker())
    expiries = []
    prepare = driver.workload.prepare

    class Slow:
        objectives = driver.workload.objectives

        def prepare(self) -> Dataset:
            for _ in range(2):
                time.sleep(0.3)
                expiries.append(driver.ledger.sweep("test").expires)
            return prepare()

    driver.workload = Slow()  # type: ignore[assignment]
    with driver:
        pass
    assert expiries[1] > expiries[0]


def test_a_second_driver_is_refused_and_told_who_runs_the_sweep(sweep_settings: Settings) -> None:
    first, second = (
        Driver(sweep_settings, make_spec(), executor=LocalExecutor(), tracker=NoTracker()) for _ in range(2)
    )
    with first:
        with pytest.raises(SweepHeld, match=r"test is being run by process \d+ on "):
            second.__enter__()
        list(first.run())
    assert first.outcome is not None
    assert first.outcome.state == "finished"


def test_a_finished_sweep_run_again_trains_nothing(drive: Drive) -> None:
    drive(make_spec())
    again = drive(make_spec(), UnwantedExecutor())
    assert again.outcome is not None
    assert again.outcome.state == "finished"


def test_hours_are_a_budget_of_all_drivers_together(drive: Drive, sweep_settings: Settings) -> None:
    spec = make_spec(
        workload={"kind": KIND, "pause_s": 0.05}, budget={"trials": 200, "evaluations": 5, "hours": 0.0003}
    )
    stopped = drive(spec)
    assert stopped.outcome is not None
    assert stopped.outcome.state == "finished"
    assert stopped.outcome.best is not None
    assert "hours is used up" in stopped.outcome.message
    trained = len(swept(stopped).trials)
    assert 0 < trained < 200
    assert len(swept(drive(spec)).trials) == trained  # nothing is left for another driver
    assert Ledger(sweep_settings.study_url).sweep("test").elapsed_s > 1.0


@pytest.mark.parametrize("sampler", ["gp", "cmaes", "tpe"])
def test_samplers_stay_away_from_settings_that_diverge(sampler: str, sweep_settings: Settings) -> None:
    space = {name: {"float": [0.0, 1.0]} for name in ("quality", "at")}
    spec = make_spec(space=space, search={"sampler": sampler}, budget={"trials": 60})
    ledger = Ledger(sweep_settings.study_url)
    lease = Lease(ledger, "test")
    claim(ledger, spec, lease)
    study = SweepStudy(ledger, spec, lease.owner)
    diverged = []
    for number in range(30):
        if number == 20:  # what they learnt is there for the next driver
            study = SweepStudy(ledger, spec, lease.owner)
            study.records()
        trial = study.ask()
        diverged.append(trial.chosen["quality"] < 0.3)  # the better, up to a cliff
        if diverged[-1]:
            study.tell(trial, TrialState.DIVERGED, "the loss became nan")
        else:
            study.record(trial, Progress(0, 1, {"valid_loss": trial.chosen["quality"]}, "x", 1.0))
            study.tell(trial, TrialState.COMPLETE)
    assert sum(diverged[15:]) <= 10
    _, trials = read_sweep(ledger, "test")
    assert [trial.state is TrialState.DIVERGED for trial in trials] == diverged
    assert all(not trial.evaluations for trial in trials if trial.state is TrialState.DIVERGED)


def test_a_conditional_parameter_is_drawn_anew_by_a_sequence_too(drive: Drive) -> None:
    space = {"fate": ["none", "nothing"], "quality": {"float": [0.1, 1.0], "when": {"fate": ["none"]}}}
    for seed in range(4):
        spec = make_spec(
            name=f"seed{seed}", space=space, search={"sampler": "qmc", "seed": seed}, budget={"trials": 12}
        )
        drawn = [trial.chosen["quality"] for trial in swept(drive(spec)).trials if "quality" in trial.chosen]
        assert len(set(drawn)) == len(drawn)


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
    assert len(kept) == 2


def test_a_decision_to_prune_outlives_the_driver_that_made_it(sweep_settings: Settings) -> None:
    spec = make_spec(
        search={"sampler": "random", "pruner": "successive_halving"}, budget={"trials": 9, "evaluations": 9}
    )
    ledger = Ledger(sweep_settings.study_url)
    lease = Lease(ledger, "test")
    claim(ledger, spec, lease)
    study = SweepStudy(ledger, spec, lease.owner)
    for loss in (0.1, 0.2, 0.9):
        trial = study.ask()
        for evaluation in range(2):
            study.record(trial, Progress(evaluation, evaluation + 1, {"valid_loss": loss}, "x", 1.0))
            prune = study.should_prune(trial)
            if prune:
                break
    assert prune
    # Killed here, before the trial is told.
    again = SweepStudy(ledger, spec, lease.owner)
    trial = again.records()[-1]
    assert trial.state is TrialState.RUNNING
    assert again.should_prune(trial)
