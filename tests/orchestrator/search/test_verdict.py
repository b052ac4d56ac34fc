"""Why a trial was pruned: the figures that its pruner compared."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence

import pytest

from orchestrator.database.lease import Lease
from orchestrator.database.ledger import Ledger
from orchestrator.driver import claim
from orchestrator.executors.local import LocalExecutor
from orchestrator.search.study import SweepStudy
from orchestrator.settings import Settings
from orchestrator.trial import TrialRecord, TrialState
from tests.orchestrator.conftest import Drive, make_spec, swept
from tests.orchestrator.recorded import record
from workloads.protocol import Progress


def study_of(settings: Settings, pruner: str, metric: str = "valid_loss", **blocks: object) -> SweepStudy:
    spec = make_spec(
        search={"sampler": "random", "pruner": pruner},
        objective={"metric": metric, **blocks},
        budget={"trials": 30, "evaluations": 9},
    )
    ledger = Ledger(settings.study_url)
    lease = Lease(ledger, "test")
    claim(ledger, spec, lease)
    return SweepStudy(ledger, spec, lease.owner)


def train(study: SweepStudy, values: Sequence[float], *, to_the_end: bool = False) -> str:
    """Train a trial through these values as the sweep would; return why it was pruned, empty where it was not."""
    trial = study.ask()
    for evaluation, value in enumerate(values):
        metrics = {study.metric: value, "sequence_steps_per_second": 1000.0}
        record(study, trial, Progress(evaluation, (evaluation + 1) * 100, metrics, "x", 1.0))
        if not to_the_end and (why := study.why_prune(trial)):
            study.tell(trial, TrialState.PRUNED, why)
            return why
    study.tell(trial, TrialState.COMPLETE)
    return ""


def complete(study: SweepStudy, *values: float) -> None:
    for value in values:
        train(study, [value] * 9, to_the_end=True)


def test_the_median_is_that_of_the_trials_that_ended(sweep_settings: Settings) -> None:
    study = study_of(sweep_settings, "median")
    complete(study, 0.1, 0.2, 0.3, 0.4, 0.5)
    assert train(study, [0.35, 0.9]) == (
        "its best after 1 of 9 evaluations, 0.3500, is worse than the median of 5 trials, 0.3000"
    )
    assert train(study, [0.25] * 9) == ""


def test_a_metric_that_is_maximized_is_worse_below(sweep_settings: Settings) -> None:
    study = study_of(sweep_settings, "median", "valid_score")
    complete(study, 0.1, 0.2, 0.3, 0.4, 0.5)
    assert train(study, [0.25]) == (
        "its best after 1 of 9 evaluations, 0.2500, is worse than the median of 5 trials, 0.3000"
    )


def test_the_best_quarter_is_named_by_where_it_begins(sweep_settings: Settings) -> None:
    study = study_of(sweep_settings, "percentile", "valid_score")
    complete(study, 0.1, 0.2, 0.3, 0.4, 0.5)
    assert train(study, [0.35]) == (
        "its best after 1 of 9 evaluations, 0.3500, is not among the best 25 % of 5 trials, 0.4000 or better"
    )


def test_successive_halving_compares_on_the_rung_where_it_pruned(sweep_settings: Settings) -> None:
    study = study_of(sweep_settings, "successive_halving")
    complete_at_once = [train(study, [value] * 9) for value in (0.5, 0.4, 0.3, 0.2, 0.1)]
    assert complete_at_once == [""] * 5  # each the best so far
    assert train(study, [0.15, 0.15, 0.45]) == (
        "0.4500 after 3 of 9 evaluations is not among the best 2 of the 6 trials that came so far, 0.2000 or better"
    )


def test_hyperband_compares_within_a_bracket(sweep_settings: Settings) -> None:
    study = study_of(sweep_settings, "hyperband")
    found = [train(study, [value] * 9) for value in (0.1, *([0.9] * 12))]
    pruned = [why for why in found if why]
    assert pruned
    for why in pruned:
        assert re.fullmatch(
            r"0\.9000 after [139] of 9 evaluations is not (the best|among the best \d+) of the \d+ trials of its "
            r"bracket that came so far, 0\.1000( or better)?",
            why,
        )


def test_a_patient_pruner_says_how_long_it_waited(sweep_settings: Settings) -> None:
    study = study_of(sweep_settings, "patient")
    complete(study, 0.1, 0.2, 0.3, 0.4, 0.5)
    assert train(study, [0.8, 0.7, 0.75, 0.76, 0.77]) == (
        "no better for 3 evaluations, and its best after 5 of 9 evaluations, 0.7000, is worse than the median of "
        "5 trials, 0.3000"
    )


def test_with_a_cost_the_reason_is_of_the_metric(sweep_settings: Settings) -> None:
    study = study_of(sweep_settings, "median", cost="seconds")
    complete(study, 0.1, 0.2, 0.3, 0.4, 0.5)
    assert train(study, [0.35]).endswith("0.3500, is worse than the median of 5 trials, 0.3000")


def median_before(trial: TrialRecord, trials: Sequence[TrialRecord]) -> tuple[int, float]:
    """Return how many trials were complete before this one, and the median of what they had come to by then."""
    before = [other for other in trials[: trial.number] if other.state is TrialState.COMPLETE]
    step = len(trial.evaluations) - 1
    return len(before), statistics.median(other.evaluations[step].metrics["valid_loss"] for other in before)


def test_every_reason_of_a_sweep_holds_when_it_is_worked_out_again(drive: Drive) -> None:
    spec = make_spec(
        space={"quality": {"float": [0.1, 100.0]}},
        search={"sampler": "random", "pruner": "median", "seed": 1},
        budget={"trials": 30, "evaluations": 9},
    )
    trials = swept(drive(spec, LocalExecutor(1))).trials
    pruned = [trial for trial in trials if trial.state is TrialState.PRUNED]
    assert len(pruned) > 3
    for trial in pruned:
        best = min(progress.metrics["valid_loss"] for progress in trial.evaluations)
        count, median = median_before(trial, trials)
        said = re.fullmatch(
            r"its best after (\d+) of 9 evaluations, (\S+), is worse than the median of (\d+) trials, (\S+)",
            trial.reason,
        )
        assert said is not None, trial.reason
        assert (int(said[1]), int(said[3])) == (len(trial.evaluations), count)
        assert float(said[2]) == pytest.approx(best, rel=1e-3)
        assert float(said[4]) == pytest.approx(median, rel=1e-3)
        assert best > median
