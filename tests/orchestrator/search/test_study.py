"""The study: what samplers and pruners see, and what a kill at any moment leaves of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.database import rows
from orchestrator.database.lease import Lease
from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import load_study, read_sweep
from orchestrator.driver import claim
from orchestrator.event import Happening
from orchestrator.search.study import SweepStudy
from orchestrator.settings import Settings
from orchestrator.trial import TrialState
from tests.orchestrator.conftest import Drive, make_spec, swept
from tests.orchestrator.recorded import record
from workloads.protocol import Progress


@pytest.fixture
def sweep_settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings.load({"runs": tmp_path / "runs", "study_url": database_url}, environ={})


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
            with monkeypatch.context() as killed, pytest.raises(ZeroDivisionError):  # noqa: PT012 - killed within
                killed.setattr(rows, "put_notes", lambda *_, **__: 1 / 0)  # the last of what is written of it
                study.ask()
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
    ledger = Ledger(sweep_settings.study_url)
    ledger.update("test", owner="me")
    kept = SweepStudy(ledger, spec, "me")
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
    ledger.record("test", [(0, lost)], owner="me")
    ledger.update("test", owner=None)
    finished = drive(spec)
    [trial] = swept(finished).trials
    assert [progress.evaluation for progress in trial.evaluations] == list(range(5))
    assert sorted(load_study(ledger, "test").trials[0].intermediate_values) == [1, 2, 3, 4, 5]


def test_a_trial_killed_in_the_middle_of_being_told_may_end_otherwise(
    sweep_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec()
    ledger = Ledger(sweep_settings.study_url)
    lease = Lease(ledger, "test")
    claim(ledger, spec, lease)
    study = SweepStudy(ledger, spec, lease.owner)
    trial = study.ask()
    with monkeypatch.context() as killed, pytest.raises(ZeroDivisionError):  # noqa: PT012 - killed within
        killed.setattr(rows, "end_trials", lambda *_: 1 / 0)
        study.tell(trial, TrialState.OUT_OF_MEMORY, "a terabyte was asked for")
    again = SweepStudy(ledger, spec, lease.owner)
    [trial] = again.records()
    assert trial.state is TrialState.RUNNING
    record(again, trial, Progress(0, 1000, {"valid_loss": 0.5}, "file:///x", 1.0))
    again.tell(trial, TrialState.COMPLETE)
    _, [read] = read_sweep(ledger, "test")
    assert (read.state, read.reason) == (TrialState.COMPLETE, "")
    third = SweepStudy(ledger, spec, lease.owner)
    third.records()
    assert third.study.trials[0].constraints == {}


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
            record(study, trial, Progress(0, 1, {"valid_loss": trial.chosen["quality"]}, "x", 1.0))
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
            record(study, trial, Progress(evaluation, evaluation + 1, {"valid_loss": loss}, "x", 1.0))
            why = study.why_prune(trial)
            if why:
                break
    assert why == "0.9000 after 1 of 9 evaluations is not the best of the 3 trials that came so far, 0.1000"
    # Killed here, before the trial is told.
    again = SweepStudy(ledger, spec, lease.owner)
    trial = again.records()[-1]
    assert trial.state is TrialState.RUNNING
    assert again.why_prune(trial) == why
