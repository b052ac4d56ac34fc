"""Samplers and pruners that compute less draw and say what Optuna's own do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from orchestrator.database.lease import Lease
from orchestrator.database.ledger import Ledger
from orchestrator.driver import claim
from orchestrator.report.gather import thinned
from orchestrator.search import by_name as search
from orchestrator.search.judging import KeptHyperbandPruner, KeptPercentilePruner
from orchestrator.search.memory import StudyInMemory
from orchestrator.search.parzen import KnownPoints, SwiftTPESampler
from orchestrator.search.seen import BEST_SEEN, SeenBySamplers
from orchestrator.search.study import SweepStudy
from orchestrator.space import suggest
from orchestrator.spec import SweepSpec
from orchestrator.standing import Standing
from orchestrator.trial import TrialRecord, TrialState
from tests.orchestrator.conftest import make_spec
from workloads.protocol import Progress

SPACES: dict[str, dict[str, Any]] = {
    "mixed": {
        "quality": {"float": [0.1, 1.0]},
        "at": {"int": [1, 64], "log": True},
        "fate": ["none", "later", "never"],
        "rate": {"float": [1e-4, 1e-1], "log": True},
    },
    "steps": {"quality": {"float": [0.0, 1.0], "step": 0.05}, "at": {"int": [1, 9], "step": 2}},
    "choices": {"fate": ["none", "later"], "cell": ["rnn", "gru", "lstm"]},
    "conditional": {
        "cell": ["rnn", "gru", "lstm"],
        "quality": {"float": [0.1, 1.0]},
        "at": {"int": [1, 64], "log": True, "when": {"cell": ["gru", "lstm"]}},
    },
}
ASKED, UNDER_WAY = 70, 7
"""Trials asked in turn, and how many of them are under way at once."""


def loss_of(chosen: dict[str, Any], number: int) -> float:
    parts = [float(value) if isinstance(value, int | float) else len(str(value)) / 3 for value in chosen.values()]
    return sum(abs(part - 0.4) for part in parts) + 0.01 * np.sin(number)


def drawn(spec: SweepSpec, make: Callable[[int], optuna.samplers.BaseSampler], storage: Any) -> list[dict[str, Any]]:
    """Return the settings that a sampler draws, trials ending in every way that they can."""
    study = optuna.create_study(storage=storage)
    asked: list[tuple[optuna.trial.Trial, dict[str, Any]]] = []
    found = []
    for number in range(ASKED):
        study.sampler = make(number)
        trial = study.ask()
        asked.append((trial, suggest(trial, spec.space)))
        found.append(asked[-1][1])
        if len(asked) < UNDER_WAY:
            continue
        ended, chosen = asked.pop((number * 5) % UNDER_WAY)
        ended.report(loss_of(chosen, ended.number), 1)
        if ended.number % 5 == 1:
            study.tell(ended, state=optuna.trial.TrialState.PRUNED)
        elif ended.number % 11 == 3:
            study.tell(ended, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(ended, loss_of(chosen, ended.number))
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_tpe_draws_what_optunas_own_draws(space: dict[str, Any]) -> None:
    spec, points = make_spec(space=space), KnownPoints()

    def own(number: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.TPESampler(seed=number, multivariate=True, group=True, constant_liar=True)

    ours = drawn(spec, lambda number: SwiftTPESampler(points, seed=number), SeenBySamplers())
    assert ours == drawn(spec, own, optuna.storages.InMemoryStorage())


Prune = dict[str, Callable[[], optuna.pruners.BasePruner]]
PRUNERS: dict[str, tuple[Callable[[], optuna.pruners.BasePruner], Callable[[], optuna.pruners.BasePruner]]] = {
    "median": (
        lambda: KeptPercentilePruner(50.0, n_startup_trials=4, n_warmup_steps=2),
        lambda: optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2),
    ),
    "percentile": (
        lambda: KeptPercentilePruner(25.0, n_startup_trials=4, n_warmup_steps=1),
        lambda: optuna.pruners.PercentilePruner(25.0, n_startup_trials=4, n_warmup_steps=1),
    ),
    "patient": (
        lambda: optuna.pruners.PatientPruner(KeptPercentilePruner(50.0, n_startup_trials=4), patience=2),
        lambda: optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(n_startup_trials=4), patience=2),
    ),
    "hyperband": (
        lambda: KeptHyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3),
        lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3),
    ),
}


def pruned(pruner: optuna.pruners.BasePruner, storage: Any, direction: str) -> list[tuple[int, int]]:
    """Return which trials a pruner prunes, and at which step."""
    random = np.random.default_rng(1)
    study = optuna.create_study(
        study_name="same", storage=storage, sampler=optuna.samplers.RandomSampler(0), pruner=pruner, direction=direction
    )
    going = [(study.ask(), 0) for _ in range(5)]
    found = []
    for _ in range(600):
        trial, step = going.pop(int(random.integers(len(going))))
        drift = step / 5 if direction == "maximize" else -step / 5
        trial.report(float(random.normal() + trial.number % 7 / 3 + drift), step + 1)
        if trial.should_prune():
            found.append((trial.number, step))
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif step == 8:
            study.tell(trial, float(random.normal()))
        else:
            going.append((trial, step + 1))
            continue
        going.append((study.ask(), 0))
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("name", PRUNERS)
def test_a_pruner_prunes_what_optunas_own_prunes(name: str, direction: str) -> None:
    ours, own = PRUNERS[name]
    expected = pruned(own(), optuna.storages.InMemoryStorage(), direction)
    assert len(expected) > 5
    assert pruned(ours(), StudyInMemory(), direction) == expected


def test_a_long_sweep_shows_tpe_the_best_trials_the_latest_and_all_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.search.seen.MOST_SEEN", 40)
    spec = make_spec(budget={"trials": 500, "sequence_steps": 5000, "evaluations": 5}, search={"sampler": "tpe"})
    ledger = Ledger(f"sqlite:///{tmp_path}/study.db")
    lease = Lease(ledger, "test")
    claim(ledger, spec, lease)
    study = SweepStudy(ledger, spec, lease.owner)
    left = study.ask()
    losses: dict[int, float] = {}
    with study.writes.together():
        for index in range(90):
            trial = study.ask()
            losses[trial.number] = abs(index - 20.2)  # the best are long gone
            study.take(trial, Progress(0, 1, {"valid_loss": losses[trial.number]}, "x", 1.0))
            study.tell(trial, TrialState.COMPLETE)
    shown: list[set[int]] = []
    real = search.make_sampler

    def watched(*arguments: Any, **names: Any) -> Any:
        shown.append({trial.number for trial in study._memory.get_all_trials(0) if trial.state.is_finished()})
        return real(*arguments, **names)

    monkeypatch.setattr("orchestrator.search.study.make_sampler", watched)
    new = study.ask()
    best = set(sorted(losses, key=losses.__getitem__)[:BEST_SEEN])
    latest = set(sorted(losses)[-(40 - BEST_SEEN) :])
    assert shown == [best | latest]
    assert new.number == 91
    with study._memory.asked():
        assert {left.number, new.number} <= {trial.number for trial in study._memory.get_all_trials(0)}
    assert len(study._memory.get_all_trials(0)) == 92  # pruners see all


def test_a_report_on_thousands_of_trials_judges_importance_by_some_of_them_evenly_spread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trials = [TrialRecord(number, {}, {}, 0.0) for number in range(30)]
    seen = Standing(None, make_spec(), trials, None)  # type: ignore[arg-type]
    complete = range(0, 30, 2)
    assert thinned(seen, complete) is seen
    monkeypatch.setattr("orchestrator.report.gather.MOST_JUDGED", 5)
    assert [trial.number for trial in thinned(seen, complete).trials] == [0, 6, 12, 18, 24]


def test_a_sweep_as_long_as_tpe_sees_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = SeenBySamplers(most_seen=3)
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(0))
    for value in range(3):
        study.tell(study.ask(), float(value))
    with storage.asked():
        assert len(storage.get_all_trials(0)) == 3
