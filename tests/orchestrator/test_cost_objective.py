"""Two objectives: quality and cost, with pruning by quality, and everything that a sweep of one can do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import optuna
import pytest

from orchestrator.database import rows
from orchestrator.database.lease import Lease
from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import load_study, read_sweep
from orchestrator.driver import claim
from orchestrator.errors import BpttError, SpecChanged, SpecError
from orchestrator.event import Happening
from orchestrator.report import make_report
from orchestrator.search.study import SweepStudy
from orchestrator.settings import Settings
from orchestrator.spec import ONE_OBJECTIVE_SAMPLERS, PRUNERS, SAMPLERS, SweepSpec
from orchestrator.trial import TrialRecord, TrialState, best_trial
from tests.fakes import Scripted
from tests.orchestrator.conftest import Drive, make_spec, swept
from tests.orchestrator.recorded import record
from workloads.protocol import Progress

COST = {"metric": "valid_loss", "cost": "seconds"}


def costly(**changes: Any) -> SweepSpec:
    return make_spec(**{"objective": COST, **changes})


@dataclass(frozen=True, slots=True)
class Silent(Scripted):
    """Says nothing of what it cost."""

    def train(self, *given: Any) -> Iterator[Progress]:
        for progress in Scripted.train(self, *given):
            metrics = {name: value for name, value in progress.metrics.items() if "per_second" not in name}
            yield Progress(progress.evaluation, progress.sequence_steps, metrics, progress.checkpoint, progress.time)


def test_the_cost_is_a_second_objective_that_is_always_minimised(drive: Drive, sweep_settings: Settings) -> None:
    driver = drive(costly(objective={"metric": "valid_score", "cost": "seconds"}))
    study = load_study(Ledger(sweep_settings.study_url), "test")
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    for trial, frozen in zip(swept(driver).trials, study.trials, strict=True):
        assert frozen.values == [trial.value("valid_score"), pytest.approx(5.0)]  # 5000 steps at 1000 a second
    assert driver.outcome is not None
    assert driver.outcome.best == best_trial(swept(driver).trials, "valid_score", "maximize")


def test_peak_memory_is_the_most_of_all_evaluations_and_seconds_add_up() -> None:
    trial = TrialRecord(0, {}, {}, 0.0)
    assert (trial.cost("seconds"), trial.cost("memory")) == (None, None)
    for index, (rate, peak) in enumerate([(100.0, 50.0), (200.0, 80.0), (50.0, 60.0)]):
        metrics = {"sequence_steps_per_second": rate, "peak_memory_mb": peak}
        trial.evaluations.append(Progress(index, (index + 1) * 1000, metrics, "x", 1.0))
    assert (trial.cost("seconds"), trial.cost("memory")) == (10 + 5 + 20, 80.0)


def test_without_a_cost_a_sweep_has_one_objective(drive: Drive, sweep_settings: Settings) -> None:
    drive(make_spec())
    study = load_study(Ledger(sweep_settings.study_url), "test")
    assert [len(trial.values) for trial in study.trials] == [1] * 6


def test_a_sampler_of_one_objective_is_refused_and_those_of_two_are_named() -> None:
    with pytest.raises(SpecError) as caught:
        costly(search={"sampler": "cmaes"})
    assert str(caught.value) == (
        "search.sampler: cmaes knows no second objective (objective.cost); use tpe, random, qmc, gp, grid"
    )


def test_an_unknown_cost_is_refused() -> None:
    with pytest.raises(SpecError, match=r"objective\.cost: 'money'"):
        costly(objective={"cost": "money"})


def test_a_spec_with_a_cost_is_read_again_as_it_was(sweep_settings: Settings) -> None:
    spec = costly()
    assert SweepSpec.model_validate(spec.plain()) == spec
    assert json.loads(json.dumps(spec.plain()))["objective"]["cost"] == "seconds"


PAIRS = [
    *(("tpe", pruner) for pruner in PRUNERS),
    *((sampler, "median") for sampler in SAMPLERS if sampler not in ("tpe", *ONE_OBJECTIVE_SAMPLERS)),
]


@pytest.mark.parametrize(("sampler", "pruner"), PAIRS)
def test_every_sampler_of_two_objectives_works_with_every_pruner(
    sampler: str, pruner: str, sweep_settings: Settings
) -> None:
    space: dict[str, Any] = {"quality": {"float": [0.0, 1.0], "step": 0.05}, "at": [1, 2]}
    spec = costly(
        space=space,
        search={"sampler": sampler, "pruner": pruner},
        budget={"trials": 40, "sequence_steps": 5000, "evaluations": 9},
    )
    ledger = Ledger(sweep_settings.study_url)
    lease = Lease(ledger, "test")
    claim(ledger, spec, lease)
    study = SweepStudy(ledger, spec, lease.owner)
    states = []
    for number in range(16):
        if number == 12:  # all of it is there for the next driver
            study = SweepStudy(ledger, spec, lease.owner)
            study.records()
        trial = study.ask()
        states.append(train(study, trial, infeasible=trial.chosen["quality"] > 0.6))
    _, read = read_sweep(ledger, "test")
    assert [trial.state for trial in read] == states
    assert {TrialState.COMPLETE, TrialState.OUT_OF_MEMORY} <= set(states)
    if sampler in ("random", "qmc"):  # which learn nothing, so that there is something to prune
        assert TrialState.PRUNED in states


def train(study: SweepStudy, trial: TrialRecord, *, infeasible: bool) -> TrialState:
    if infeasible:
        study.tell(trial, TrialState.OUT_OF_MEMORY, "no memory is left")
        return trial.state
    for evaluation in range(9):
        metrics = {"valid_loss": trial.chosen["quality"] / (evaluation + 1), "sequence_steps_per_second": 100.0}
        record(study, trial, Progress(evaluation, (evaluation + 1) * 100, metrics, "x", 1.0))
        if evaluation < 8 and study.why_prune(trial):
            study.tell(trial, TrialState.PRUNED, "not promising")
            return trial.state
    study.tell(trial, TrialState.COMPLETE)
    return trial.state


@pytest.mark.parametrize("pruner", ["median", "successive_halving", "hyperband"])
def test_two_objectives_are_pruned_as_the_first_alone_would_be(pruner: str, sweep_settings: Settings) -> None:
    ledger = Ledger(sweep_settings.study_url)
    pruned = []
    for objective in ({"metric": "valid_loss"}, COST):
        search = {"sampler": "random", "pruner": pruner, "seed": 5}
        # Hyperband's brackets are drawn by the sweep's name.
        spec = make_spec(objective=objective, search=search, budget={"trials": 30, "evaluations": 9})
        lease = Lease(ledger, "test")
        claim(ledger, spec, lease)
        study = SweepStudy(ledger, spec, lease.owner)
        pruned.append([train(study, study.ask(), infeasible=False) for _ in range(20)])
        lease.give_back("interrupted", "")
        ledger = Ledger(f"{sweep_settings.study_url}.second")
    assert pruned[0] == pruned[1]
    assert TrialState.PRUNED in pruned[0]


def test_a_sweep_of_two_objectives_goes_on_where_it_was_stopped(drive: Drive, sweep_settings: Settings) -> None:
    spec = costly(search={"sampler": "tpe", "pruner": "successive_halving"}, budget={"trials": 12, "evaluations": 9})
    seen = 0

    def after_some(event: Any) -> bool:
        nonlocal seen
        seen += event.happening is Happening.EVALUATED
        return seen > 20

    stopped = drive(spec, until=after_some)
    assert stopped.outcome is not None
    assert stopped.outcome.state == "interrupted"
    finished = drive(spec)
    assert finished.outcome is not None
    assert finished.outcome.state == "finished"
    trials = swept(finished).trials
    assert len(trials) == 12
    study = load_study(Ledger(sweep_settings.study_url), "test")
    complete = [trial for trial in study.trials if trial.state is optuna.trial.TrialState.COMPLETE]
    assert complete
    assert all(len(trial.values) == 2 for trial in complete)
    assert {trial.number for trial in study.best_trials} <= {trial.number for trial in complete}


def test_what_pruners_note_of_two_objectives_is_there_for_the_next_driver(
    drive: Drive, sweep_settings: Settings
) -> None:
    spec = costly(search={"sampler": "tpe", "pruner": "successive_halving"}, budget={"trials": 9, "evaluations": 9})
    drive(spec)
    rungs = [
        sorted(key for key in trial.system_attrs if key.startswith("completed_rung"))
        for trial in load_study(Ledger(sweep_settings.study_url), "test").trials
    ]
    assert any(rungs)
    ledger = Ledger(sweep_settings.study_url)
    ledger.update("test", owner="me")
    kept = SweepStudy(ledger, spec, "me")
    kept.records()
    assert kept._first is not None
    assert [
        sorted(key for key in trial.system_attrs if key.startswith("completed_rung"))
        for trial in kept._first._study.trials
    ] == rungs


def test_a_trial_under_way_when_its_driver_was_killed_goes_on_and_a_verdict_on_it_stays(
    sweep_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = costly(search={"sampler": "tpe", "pruner": "successive_halving"}, budget={"trials": 9, "evaluations": 9})
    ledger = Ledger(sweep_settings.study_url)
    lease = Lease(ledger, "test")
    claim(ledger, spec, lease)
    study = SweepStudy(ledger, spec, lease.owner)
    first = study.ask()
    assert train(study, first, infeasible=False) is TrialState.COMPLETE
    second, third = study.ask(), study.ask()
    for trial, loss in ((second, 9.0), (third, 0.0)):
        record(study, trial, Progress(0, 100, {"valid_loss": loss, "sequence_steps_per_second": 10.0}, "x", 1.0))
    assert (bool(study.why_prune(second)), study.why_prune(third)) == (True, "")
    with monkeypatch.context() as killed, pytest.raises(ZeroDivisionError):  # noqa: PT012 - killed within
        killed.setattr(rows, "end_trials", lambda *_: 1 / 0)
        study.tell(second, TrialState.PRUNED, "not promising")
    again = SweepStudy(ledger, spec, lease.owner)
    _, second, third = again.records()
    assert (second.state, third.state) == (TrialState.RUNNING, TrialState.RUNNING)
    assert again.why_prune(second)
    again.tell(second, TrialState.PRUNED, "not promising")
    for evaluation in range(1, 9):
        metrics = {"valid_loss": 0.0, "sequence_steps_per_second": 10.0}
        record(again, third, Progress(evaluation, (evaluation + 1) * 100, metrics, "x", 1.0))
        assert not again.why_prune(third)
    again.tell(third, TrialState.COMPLETE)
    assert again.ask().number == 3
    told = load_study(ledger, "test").trials
    assert [trial.state.name for trial in told] == ["COMPLETE", "PRUNED", "COMPLETE", "RUNNING"]
    assert told[2].values == [0.0, pytest.approx(90.0)]
    assert len(told[2].intermediate_values) == 9


def test_a_changed_cost_is_refused_once_there_are_trials(drive: Drive) -> None:
    drive(make_spec(budget={"trials": 2, "evaluations": 2}))
    with pytest.raises(SpecChanged, match=r'objective\.cost: null -> "seconds"'):
        drive(costly(budget={"trials": 2, "evaluations": 2}))


def test_a_cost_added_before_the_first_trial_makes_a_study_of_two_objectives(
    drive: Drive, sweep_settings: Settings
) -> None:
    ledger = Ledger(sweep_settings.study_url)
    before = make_spec()
    lease = Lease(ledger, "test")
    claim(ledger, before, lease)
    SweepStudy(ledger, before, lease.owner)
    lease.give_back("interrupted", "")
    drive(costly())
    assert len(load_study(ledger, "test").directions) == 2


def test_a_workload_that_does_not_measure_the_cost_is_told_so(drive: Drive) -> None:
    spec = costly(workload={"kind": f"{__name__}:Silent"})
    with pytest.raises(
        BpttError, match=r"objective\.cost: seconds; the workload measures no sequence_steps_per_second"
    ):
        drive(spec)


def test_a_sweep_of_two_objectives_is_reported(drive: Drive, sweep_settings: Settings) -> None:
    drive(costly())
    report = make_report(Ledger(sweep_settings.study_url), "test")
    assert report.best is not None
    assert report.importance.parts or report.importance.note
