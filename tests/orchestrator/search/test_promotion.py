"""Successive halving that resumes: who is paused, who is promoted, and what a kill leaves of it."""

from __future__ import annotations

import random
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import load_study, read_sweep
from orchestrator.driver import Driver
from orchestrator.event import Event, Happening
from orchestrator.executors.local import LocalExecutor
from orchestrator.search.promotion import REDUCTION, Promotion, rungs_of
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.standing import standing
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import Assignment, Reply, TrialRecord, TrialState
from orchestrator.wording import states as states_in_words
from tests.fakes import Scripted
from tests.orchestrator.conftest import Drive, make_spec, states, swept
from workloads.protocol import Progress


class Wavering(Scripted):
    """Its loss is another one at each evaluation, whatever it was before: rungs rank trials anew."""

    def train(self, params: Any, dataset: Any, storage: Any, resume_from: str | None = None) -> Iterator[Progress]:
        for progress in super().train(params, dataset, storage, resume_from):
            loss = random.Random(f"{params['quality']} {progress.evaluation}").random()
            yield replace(progress, metrics={**progress.metrics, "valid_loss": loss})


def promoting(**changes: Any) -> SweepSpec:
    return make_spec(
        **{
            "space": {"quality": {"float": [0.1, 100.0]}},
            "search": {"sampler": "random", "pruner": "promotion", "seed": 1},
            "budget": {"trials": 18, "evaluations": 9},
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("evaluations", "rungs"),
    [(1, ()), (2, (1,)), (3, (1,)), (5, (1, 3)), (9, (1, 3)), (10, (1, 3)), (27, (2, 6, 18)), (100, (10, 30))],
)
def test_rungs_lie_a_factor_apart_and_spare_a_third_at_least(evaluations: int, rungs: tuple[int, ...]) -> None:
    assert rungs_of(evaluations) == rungs


def test_the_best_third_goes_on_and_the_rest_is_pruned_at_the_end(drive: Drive) -> None:
    driver = drive(promoting(), LocalExecutor(1))
    trials = swept(driver).trials
    reached = Counter(len(trial.evaluations) for trial in trials)
    assert set(reached) == {1, 3, 9}
    # A trial promoted early may be overtaken later: no fewer than a third of each rung, and not many more.
    assert 6 <= reached[3] + reached[9] <= 12
    assert states(driver) == {TrialState.COMPLETE: reached[9], TrialState.PRUNED: 18 - reached[9]}
    best = min(trials, key=lambda trial: trial.chosen["quality"])
    assert driver.outcome is not None
    assert driver.outcome.best is best
    reasons = [trial.reason for trial in trials if trial.state is TrialState.PRUNED]
    told = re.compile(r"not promoted: [\d.]+ is number (\d+) of (\d+) after [13] of 9 evaluations")
    assert all(told.fullmatch(reason) for reason in reasons), reasons


def reached(rung: int, trials: list[TrialRecord]) -> int:
    return sum(len(trial.evaluations) >= rung for trial in trials)


def gone_on(rung: int, trials: list[TrialRecord]) -> int:
    return sum(len(trial.evaluations) > rung for trial in trials)


@pytest.mark.parametrize("workers", [1, 3])
def test_delayed_no_more_than_a_third_ever_go_on(workers: int, drive: Drive) -> None:
    # Ever better trials: each that comes to a rung is the best there.
    space = {"quality": {"float": [1.0, 36.0], "step": 1.0}}
    changes: dict[str, Any] = {"space": space, "budget": {"trials": 36, "evaluations": 9}}
    search = {"sampler": "grid", "seed": 1}
    counts = {}
    for name, pruner in (("early", "promotion"), ("late", "delayed_promotion")):
        spec = promoting(**changes, search={**search, "pruner": pruner}, name=name)
        sweep = swept(drive(spec, LocalExecutor(workers)))
        by_right = [trial for trial in sweep.trials if not trial.is_spare]
        counts[name] = [gone_on(1, sweep.trials), gone_on(3, by_right)]
        assert all(trial.state.is_final for trial in sweep.trials)
        assert sum(trial.is_spare for trial in sweep.trials) < workers
    assert counts["late"] == [12, 4]
    assert counts["early"] > counts["late"]


def a_trial(number: int, evaluations: int, state: TrialState) -> TrialRecord:
    made = [Progress(at, at, {"valid_loss": float(number)}, "", 0.0) for at in range(evaluations)]
    return replace(TrialRecord(number, {}, {}, 0.0), evaluations=made, state=state)


def test_an_idle_worker_trains_the_next_best_on_while_another_trains_as_far() -> None:
    promotion = Promotion.of(promoting(search={"sampler": "random", "pruner": "delayed_promotion"}))
    paused = [a_trial(number, 3, TrialState.PAUSED) for number in (5, 2, 7)]
    low = [a_trial(number, 1, TrialState.PAUSED) for number in (0, 1)]
    last = a_trial(9, 3, TrialState.RUNNING)
    trials = [*paused, *low, last]
    assert promotion.spare(trials, [last]) is paused[1]
    # No further than others go: no time is lost.
    assert promotion.spare(trials, []) is None
    assert promotion.spare(trials, [a_trial(9, 4, TrialState.RUNNING)]) is None  # five evaluations to its end, not six
    assert promotion.spare(trials, [a_trial(9, 1, TrialState.RUNNING)]) is None  # two, to its next rung
    # One that is spare itself is not what another one goes along with.
    last.is_spare = True
    assert promotion.spare(trials, [last]) is None
    # Those of lower rungs stay there, or more of those above them would go on by right.
    last.is_spare = False
    assert promotion.spare([*low, last], [last]) is None


def test_who_went_on_as_a_spare_takes_nobodys_place() -> None:
    promotion = Promotion.of(promoting(search={"sampler": "random", "pruner": "delayed_promotion"}))
    ended = [a_trial(number, 9, TrialState.COMPLETE) for number in (3, 4)]
    others = [a_trial(number, 3, TrialState.PAUSED) for number in (6, 7, 8)]
    arriving = a_trial(1, 3, TrialState.PAUSED)
    trials = [*ended, *others, arriving]  # of six two go on
    assert promotion.next(trials) is None
    ended[1].is_spare = True
    assert promotion.next(trials) is arriving


def test_a_sweep_of_several_workers_leaves_none_idle_beside_the_last_trials(drive: Drive) -> None:
    search = {"sampler": "random", "pruner": "delayed_promotion", "seed": 1}
    sweep = swept(drive(promoting(search=search), LocalExecutor(2)))
    alone = swept(drive(promoting(search=search, name="alone"), LocalExecutor(1)))
    assert not any(trial.is_spare for trial in alone.trials)
    sweep.respec(sweep.study.spec)  # a sweep that is steered goes on with what it knew
    (spare,) = (trial for trial in sweep.trials if trial.is_spare)
    assert spare.state is TrialState.COMPLETE
    complete = [trial for trial in sweep.trials if trial.state is TrialState.COMPLETE]
    assert len(complete) == 1 + sum(trial.state is TrialState.COMPLETE for trial in alone.trials)


def test_a_metric_that_is_maximized_promotes_the_highest(drive: Drive) -> None:
    driver = drive(promoting(objective={"metric": "valid_score"}), LocalExecutor(1))
    assert driver.outcome is not None
    assert driver.outcome.best is min(swept(driver).trials, key=lambda trial: trial.chosen["quality"])


def test_a_sweep_too_small_to_promote_anyone_trains_its_best_to_the_end(drive: Drive) -> None:
    driver = drive(promoting(budget={"trials": 2, "evaluations": 9}))
    assert states(driver) == {TrialState.COMPLETE: 1, TrialState.PRUNED: 1}
    best = min(swept(driver).trials, key=lambda trial: trial.chosen["quality"])
    assert best.state is TrialState.COMPLETE


def test_a_paused_trial_is_resumed_from_its_checkpoint_under_its_number(drive: Drive) -> None:
    executor = Mortal(2)
    driver = drive(promoting(), executor)
    resumed = [assignment for assignment in executor.started if assignment.resume_from]
    assert resumed
    for assignment in resumed:
        trial = swept(driver).trials[assignment.number]
        assert assignment.resume_from in [progress.checkpoint for progress in trial.evaluations]
    assert all(
        [progress.evaluation for progress in trial.evaluations] == list(range(len(trial.evaluations)))
        for trial in swept(driver).trials
    )


def test_paused_trials_are_shown_as_such_and_are_running_to_optuna(drive: Drive, sweep_settings: Settings) -> None:
    driver = drive(promoting(), until=lambda event: len(swept_so_far(event)) > 5)
    assert driver.outcome is not None
    assert driver.outcome.state == "interrupted"
    paused = [trial.number for trial in swept(driver).trials if trial.state is TrialState.PAUSED]
    assert paused
    ledger = Ledger(sweep_settings.study_url)
    _, seen = read_sweep(ledger, "test")
    assert [trial.number for trial in seen if trial.state is TrialState.PAUSED] == paused
    assert all(load_study(ledger, "test").trials[number].state.name == "RUNNING" for number in paused)
    plain = standing(ledger, ledger.sweep("test")).plain()
    assert plain["trials"]["by_state"]["paused"] == len(paused)
    assert f"{len(paused)} paused" in states_in_words(seen, driven=False)
    assert states(drive(promoting()))[TrialState.PAUSED] == 0


SEEN: list[int] = []


def swept_so_far(event: Event) -> list[int]:
    """Return the trials paused so far; begun anew by the first trial."""
    if event.happening is Happening.STARTED and event.trial is not None and event.trial.number == 0:
        SEEN.clear()
    if event.happening is Happening.PAUSED and event.trial is not None:
        SEEN.append(event.trial.number)
    return SEEN


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "cost_aware", "grid", "cmaes"])
def test_every_sampler_goes_on_beside_paused_trials(sampler: str, drive: Drive) -> None:
    space: dict[str, Any] = {"quality": {"float": [0.1, 1.0], "step": 0.1}, "hidden_size": {"int": [8, 16], "step": 8}}
    spec = promoting(space=space, search={"sampler": sampler, "pruner": "promotion"})
    driver = drive(spec)
    assert states(driver)[TrialState.COMPLETE] >= 1
    assert states(driver).total() == 18


def test_two_objectives_are_promoted_by_the_first(drive: Drive) -> None:
    spec = promoting(objective={"cost": "seconds"}, search={"sampler": "tpe", "pruner": "promotion", "seed": 1})
    driver = drive(spec)
    assert states(driver)[TrialState.COMPLETE] >= 1
    assert states(driver)[TrialState.PAUSED] == 0


def test_tpe_learns_from_paused_trials_as_from_pruned_ones(drive: Drive) -> None:
    """To TPE a running trial is a bad one, and none of its first ten: it would draw at random to the end."""
    spec = promoting(search={"sampler": "tpe", "pruner": "promotion"}, budget={"trials": 40, "evaluations": 3})
    trials = swept(drive(spec, LocalExecutor(1))).trials
    early, late = (sorted(trial.chosen["quality"] for trial in part) for part in (trials[:10], trials[20:]))
    assert late[len(late) // 2] < early[len(early) // 2] / 2


class Killed(BaseException):
    """The driver dies, without a word."""


class Mortal(LocalExecutor):
    """Kills the driver at the `life`-th call, before anything is done."""

    def __init__(self, slots: int, life: int = 10**9) -> None:
        super().__init__(slots)
        self.life = life
        self.started: list[Assignment] = []

    def _live(self) -> None:
        self.life -= 1
        if self.life <= 0:
            self.life = 10**9  # what follows belongs to the burial
            raise Killed

    def start(self, assignment: Assignment) -> None:
        self._live()
        self.started.append(assignment)
        super().start(assignment)

    def advance(self, number: int) -> None:
        self._live()
        super().advance(number)

    def release(self, number: int) -> None:
        self._live()
        super().release(number)

    def wait(self, timeout_s: float) -> list[tuple[int, Reply]]:
        self._live()
        return super().wait(timeout_s)


def drive_through_kills(spec: SweepSpec, folder: Path, lives: list[int], workers: int) -> tuple[list[Any], Driver]:
    """Drive a sweep to its end, its drivers dying after so many calls; return what was recorded, in order."""
    settings_ = Settings.load({"runs": folder / "runs"}, environ={})
    order: list[tuple[int, int]] = []
    for life in [*lives, 10**9]:
        driver = Driver(settings_, spec, executor=Mortal(workers, life), tracker=NoTracker())
        record = driver.ledger.record

        def noting(name: str, made: Any, *, write: Any = record, **names: Any) -> None:
            write(name, made, **names)
            order.extend((trial, progress.evaluation) for trial, progress in made)

        driver.ledger.record = noting  # type: ignore[method-assign]
        try:
            with driver:
                for _ in driver.run():
                    pass
        except Killed:
            continue
        return order, driver
    raise AssertionError("the last driver is not killed")


def ever_best(spec: SweepSpec, order: list[tuple[int, int]], trials: list[TrialRecord]) -> dict[int, set[int]]:
    """Return which trials were ever among the best third of each rung, replayed from the order of evaluations."""
    promotion = Promotion.of(spec)
    known = {trial.number: replace(trial, evaluations=[]) for trial in trials}
    best: dict[int, set[int]] = {rung: set() for rung in promotion.rungs}
    for number, evaluation in order:
        known[number].evaluations.append(trials[number].evaluations[evaluation])
        for rung in promotion.rungs:
            at_rung = promotion.best(rung, list(known.values()))
            assert len(at_rung) == sum(len(trial.evaluations) >= rung for trial in known.values()) // REDUCTION
            best[rung] |= {trial.number for trial in at_rung}
    return best


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    pruner=st.sampled_from(["promotion", "delayed_promotion"]),
    seed=st.integers(0, 10**6),
    workers=st.integers(1, 4),
    trials=st.integers(1, 14),
    lives=st.lists(st.integers(1, 60), max_size=4),
)
def test_whatever_is_killed_only_the_best_of_a_rung_go_on_and_nothing_is_trained_twice(
    pruner: str, seed: int, workers: int, trials: int, lives: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "marks").mkdir()
        spec = promoting(
            workload={"kind": f"{__name__}:Wavering", "marks": str(folder / "marks")},
            search={"sampler": "random", "pruner": pruner, "seed": seed},
            budget={"trials": trials, "evaluations": 9},
        )
        order, driver = drive_through_kills(spec, folder, lives, workers)
        ended = swept(driver).trials
        assert len(ended) == trials
        assert {trial.state for trial in ended} <= {TrialState.COMPLETE, TrialState.PRUNED}
        assert Counter(order) == {(trial.number, at): 1 for trial in ended for at in range(len(trial.evaluations))}
        marks = Counter(tuple(path.name.split("-")[:2]) for path in (folder / "marks").iterdir())
        assert marks.total() == len(marks) == len(order)  # drivers die before they train, never in the middle
        promotion, best = Promotion.of(spec), ever_best(spec, order, ended)
        beyond = {
            rung: {trial.number for trial in ended if len(trial.evaluations) > rung} - best[rung] for rung in best
        }
        complete = {trial.number for trial in ended if trial.state is TrialState.COMPLETE}
        assert complete
        spares = (workers - 1) * (len(lives) + 1)  # at most, each driver knowing of its own
        for rung, numbers in beyond.items():
            besides = spares if rung == promotion.rungs[-1] else 0
            assert len(numbers) <= 1 + besides  # the last resort of a sweep that promotes nobody
            assert not numbers or numbers == complete or (spares and numbers <= complete)
            if pruner == "delayed_promotion":
                assert gone_on(rung, ended) <= max(reached(rung, ended) // REDUCTION, 1) + besides
        for trial in ended:
            if trial.state is TrialState.PRUNED:
                assert promotion.pauses(trial, ended)
        if workers == 1:
            _, whole = drive_through_kills(spec.model_copy(update={"name": "whole"}), folder, [], 1)
            assert [len(trial.evaluations) for trial in swept(whole).trials] == [len(t.evaluations) for t in ended]
