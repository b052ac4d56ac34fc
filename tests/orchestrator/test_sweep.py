"""The loop: budgets, pruning, failures of every kind, losing workers, stopping and going on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.checkpoints.storage import CheckpointStorage
from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import load_study, read_sweep
from orchestrator.errors import BpttError
from orchestrator.event import Event, Happening
from orchestrator.executors.local import LocalExecutor
from orchestrator.settings import Settings
from orchestrator.trial import Assignment, Failure, Reply, TrialState
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
        assert all(len(trial.evaluations) < 9 for trial in pruned)
        assert not any("not promising" in trial.reason for trial in pruned)  # but why, in figures
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
