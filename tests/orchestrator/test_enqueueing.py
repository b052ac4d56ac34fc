"""Settings that a user wants tried: begun once, next, and only where they can be."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator import steering as steering_module
from orchestrator.database.ledger import Ledger
from orchestrator.database.wishes import WishState, add_wish
from orchestrator.event import Happening
from orchestrator.executors.local import LocalExecutor
from orchestrator.settings import Settings
from orchestrator.trial import TrialState
from tests.fakes import Scripted
from tests.orchestrator.conftest import Drive, Steer, make_spec, states, swept
from tests.orchestrator.steered import SPACE, answers, enqueue, of
from workloads.protocol import Params


def test_a_setting_is_tried_next_and_what_it_leaves_open_is_sampled(steer: Steer, sweep_settings: Settings) -> None:
    spec = make_spec(space=SPACE, search={"sampler": "tpe", "pruner": "none"}, budget={"trials": 5, "evaluations": 3})
    whole = enqueue(quality=0.25, hidden_size=24, cell_type="gru")
    part = enqueue(extra=True, cell_type="lstm")
    driver = steer(spec, [(of(1, Happening.STARTED), whole), (of(1, Happening.STARTED), part)], LocalExecutor(2))
    trials = swept(driver).trials
    assert states(driver) == {TrialState.COMPLETE: 6}  # one of the budget, one beyond it
    assert trials[2].chosen == {"quality": 0.25, "hidden_size": 24, "cell_type": "gru"}
    assert trials[3].chosen["cell_type"] == "lstm"
    assert set(trials[3].chosen) == set(SPACE)
    assert answers(sweep_settings) == [(WishState.DONE, "it is trial 2"), (WishState.DONE, "it is trial 3")]


def test_a_setting_beyond_the_budget_is_refused_but_for_an_extra_one(steer: Steer, sweep_settings: Settings) -> None:
    spec = make_spec(budget={"trials": 3, "evaluations": 3})
    wishes = [
        (of(2, Happening.STARTED), enqueue(quality=0.5)),
        (of(2, Happening.EVALUATED, 1), enqueue(True, quality=0.4)),
    ]
    driver = steer(spec, wishes, LocalExecutor(1))
    assert [trial.chosen["quality"] for trial in swept(driver).trials[3:]] == [0.4]
    refused, done = answers(sweep_settings)
    assert refused[0] is WishState.REFUSED
    assert "all 3 trials of test have begun or are spoken for; --extra adds one" in refused[1]
    assert done == (WishState.DONE, "it is trial 3")


def test_an_enqueued_setting_with_an_unmet_condition_is_refused(steer: Steer, sweep_settings: Settings) -> None:
    space = {"fate": ["none", "nothing"], "quality": {"float": [0.1, 1.0], "when": {"fate": ["none"]}}}
    steer(make_spec(space=space), [(of(0, Happening.STARTED), enqueue(quality=0.5))], LocalExecutor(1))
    assert "quality: it exists when fate is none; set that too" in answers(sweep_settings)[0][1]


def test_what_the_workload_cannot_train_is_not_enqueued(steer: Steer, sweep_settings: Settings) -> None:
    spec = make_spec(workload={"kind": f"{__name__}:Picky"}, space={"quality": {"float": [0.0, 100.0]}})
    steer(spec, [(of(0, Happening.STARTED), enqueue(quality=13.0))], LocalExecutor(1))
    assert answers(sweep_settings) == [(WishState.REFUSED, "train.quality: 13.0 brings bad luck")]


def test_an_enqueued_setting_is_begun_once_whenever_the_driver_dies(
    sweep_settings: Settings, drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Died between the trial and the answer: the trial in the database says by which wish it came."""
    spec = make_spec(search={"sampler": "tpe", "pruner": "none"})
    drive(spec, until=lambda event: event.happening is Happening.EVALUATED)
    ledger = Ledger(sweep_settings.study_url)
    add_wish(ledger, "test", *enqueue(quality=0.123))

    class Killed(BaseException):
        pass

    answer = steering_module.answer_wish

    def die(ledger: Ledger, sweep: str, wish: Any, **rest: Any) -> None:
        if wish.state is WishState.DONE:
            raise Killed
        answer(ledger, sweep, wish, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(steering_module, "answer_wish", die)
        with pytest.raises(Killed):
            drive(spec)
    driver = drive(spec)
    asked_for = [trial.number for trial in swept(driver).trials if trial.chosen["quality"] == 0.123]
    assert len(asked_for) == 1
    assert states(driver) == {TrialState.COMPLETE: 6}
    assert answers(sweep_settings) == [(WishState.DONE, f"it is trial {asked_for[0]}")]


class Picky(Scripted):
    """Does not train what lies at 13."""

    def check(self, params: Params) -> None:
        if params.get("quality") == 13.0:
            raise ValueError("train.quality: 13.0 brings bad luck")
