"""Sweeps that begin with what earlier ones found: which settings, once, and only where they mean the same."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.database.ledger import Ledger
from orchestrator.database.wishes import all_wishes
from orchestrator.errors import SpecError, SweepNotFound, UserError
from orchestrator.event import Happening
from orchestrator.executors.local import LocalExecutor
from orchestrator.search.warm_start import begin_warm
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.trial import TrialState
from tests.orchestrator.conftest import Drive, make_spec, states, swept

SPACE: dict[str, Any] = {"quality": {"float": [0.1, 100.0]}}


def earlier(name: str = "before", **changes: Any) -> SweepSpec:
    return make_spec(**{"name": name, "space": SPACE, "budget": {"trials": 10, "evaluations": 2}, **changes})


def warm(*names: str, **changes: Any) -> SweepSpec:
    search = {"sampler": "random", "pruner": "none", "from": list(names)}
    return make_spec(**{"space": SPACE, "search": search, "budget": {"trials": 8, "evaluations": 2}, **changes})


def test_the_best_settings_are_tried_first_the_best_of_them_at_once(drive: Drive) -> None:
    found = sorted(trial.chosen["quality"] for trial in swept(drive(earlier())).trials)
    driver = drive(warm("before"), LocalExecutor(1))
    tried = [trial.chosen["quality"] for trial in swept(driver).trials]
    assert tried[:2] == found[:2]  # a quarter of eight trials
    assert not set(tried[2:]) & set(found)
    assert states(driver) == {TrialState.COMPLETE: 8}
    assert f"begins with quality {found[0]:g}"[:22] in driver.notes[0]


def test_settings_outside_of_the_space_are_left_out_and_equal_ones_tried_once(drive: Drive) -> None:
    choices = {"space": {"quality": [0.5, 2.0, 3.0, 4.0]}, "search": {"sampler": "random", "pruner": "none", "seed": 1}}
    drive(earlier(**choices))
    drive(earlier("again", **choices))
    driver = drive(warm("before", "again", space={"quality": [2.0, 3.0, 7.0]}, budget={"trials": 12, "evaluations": 2}))
    assert [trial.chosen["quality"] for trial in swept(driver).trials[:2]] == [2.0, 3.0]
    assert len(all_wishes(driver.ledger, "test")) == 2


def test_what_was_fixed_before_may_be_swept_now(drive: Drive) -> None:
    drive(earlier(train={"hidden_size": 24}))
    space = {**SPACE, "hidden_size": {"int": [8, 64]}}
    driver = drive(warm("before", space=space), LocalExecutor(1))
    assert [trial.chosen["hidden_size"] for trial in swept(driver).trials[:2]] == [24, 24]


def test_a_sweep_taken_up_does_not_begin_with_them_again(drive: Drive, sweep_settings: Settings) -> None:
    drive(earlier())
    drive(warm("before"), LocalExecutor(1), until=lambda event: event.happening is Happening.ENDED)
    driver = drive(warm("before"), LocalExecutor(1))
    tried = [trial.chosen["quality"] for trial in swept(driver).trials]
    assert len(tried) == len(set(tried)) == 8
    assert len(all_wishes(Ledger(sweep_settings.study_url), "test")) == 2


def test_wishing_broken_off_by_a_kill_is_gone_on_with(drive: Drive, sweep_settings: Settings) -> None:
    fingerprint = swept(drive(earlier())).study.ledger.sweep("before").dataset["fingerprint"]
    ledger, spec = Ledger(sweep_settings.study_url), warm("before")
    ledger.create(spec.name, spec.plain())
    assert len(begin_warm(ledger, spec, fingerprint)) == 2
    assert begin_warm(ledger, spec, fingerprint) == []


def test_what_cannot_be_begun_with_is_refused_in_a_line(drive: Drive, sweep_settings: Settings) -> None:
    with pytest.raises(SweepNotFound, match="no sweep is called before"):
        drive(warm("before"))
    drive(earlier())
    with pytest.raises(UserError, match=r"search\.from: before: no setting .* is in the space of narrow"):
        drive(warm("before", name="narrow", space={"quality": {"float": [0.0, 0.05]}}))
    ledger = Ledger(sweep_settings.study_url)
    ledger.update("before", dataset={"fingerprint": "another"})
    with pytest.raises(UserError, match=r"search\.from: before was trained on other data \(fingerprint another;"):
        drive(warm("before", name="others"))
    drive(earlier("half"), until=lambda event: event.happening is Happening.ENDED)
    with pytest.raises(UserError, match=r"search\.from: half has not ended \(interrupted\)"):
        drive(warm("half", name="hasty"))


def test_a_spec_that_cannot_begin_warm_is_refused_at_once() -> None:
    with pytest.raises(SpecError, match=r"search\.from: test; a sweep cannot begin with what it found itself"):
        warm("test")
    grid = {"sampler": "grid", "pruner": "none", "from": ["before"]}
    with pytest.raises(SpecError, match=r"search\.from: the grid sampler tries every setting"):
        make_spec(space={"quality": [0.1, 0.2]}, search=grid)
