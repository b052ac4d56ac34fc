"""Sweeps small enough for tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from orchestrator import steering as steering_module
from orchestrator.database.wishes import WishKind, add_wish
from orchestrator.driver import Driver
from orchestrator.event import Event
from orchestrator.executors.base import Executor
from orchestrator.executors.local import LocalExecutor
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, spec_from
from orchestrator.sweep import Sweep
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import TrialState
from tests.fakes import KIND


def make_spec(**changes: Any) -> SweepSpec:
    """Return a spec of the scripted workload; a block given replaces the one here."""
    given: dict[str, Any] = {
        "name": "test",
        "workload": {"kind": KIND},
        "space": {"quality": {"float": [0.1, 1.0]}},
        "budget": {"trials": 6, "sequence_steps": 5000, "evaluations": 5},
        "search": {"sampler": "random", "pruner": "none", "seed": 3},
    }
    return spec_from({**given, **changes})


def swept(driver: Driver) -> Sweep:
    assert driver.sweep is not None
    return driver.sweep


def states(driver: Driver) -> Counter[TrialState]:
    return Counter(trial.state for trial in swept(driver).trials)


Drive = Callable[..., Driver]
Wanted = tuple[WishKind, Mapping[str, Any]]
Steer = Callable[..., Driver]


@pytest.fixture
def drive(sweep_settings: Settings) -> Drive:
    """Return a function that drives a sweep to its end in this process and returns the driver."""

    def run(spec: SweepSpec, executor: Executor | None = None, until: Callable[..., bool] | None = None) -> Driver:
        driver = Driver(sweep_settings, spec, executor=executor or LocalExecutor(2), tracker=NoTracker())
        with driver:
            for event in driver.run():
                if until is not None and until(event):
                    driver.stop("the test said so")
        return driver

    return run


@pytest.fixture
def steer(sweep_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Steer:
    """Return a function that drives a sweep to its end, each wish made at the event that its key says yes to."""
    monkeypatch.setattr(steering_module, "LOOK_EVERY_S", 0.0)

    def run(spec: SweepSpec, wishes: list[tuple[Callable[[Event], bool], Wanted]], executor: Executor) -> Driver:
        driver = Driver(sweep_settings, spec, executor=executor, tracker=NoTracker())
        left = list(wishes)
        with driver:
            for event in driver.run():
                for entry in [entry for entry in left if entry[0](event)]:
                    left.remove(entry)
                    add_wish(driver.ledger, spec.name, *entry[1])
        assert not left, "a wish was never made"
        return driver

    return run
