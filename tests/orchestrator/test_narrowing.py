"""A space that is narrowed while the sweep runs: samplers stay in it and learn from what was before."""

from __future__ import annotations

import pytest

from orchestrator import steering as steering_module
from orchestrator.database.lease import Lease
from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import load_study
from orchestrator.database.wishes import WishState
from orchestrator.driver import claim
from orchestrator.event import Happening
from orchestrator.executors.local import LocalExecutor
from orchestrator.search.curves import Curves
from orchestrator.search.study import SweepStudy
from orchestrator.settings import Settings
from orchestrator.spec import spec_from
from orchestrator.trial import TrialRecord, TrialState
from tests.orchestrator.conftest import Steer, make_spec, swept
from tests.orchestrator.recorded import record
from tests.orchestrator.steered import NARROW, SPACE, answers, narrow, of
from workloads.protocol import Progress


def is_inside(trial: TrialRecord) -> bool:
    chosen = trial.chosen
    return 0.2 <= chosen["quality"] <= 0.5 and 16 <= chosen["hidden_size"] <= 32 and chosen["cell_type"] != "rnn"


@pytest.mark.parametrize("pruner", ["median", "promotion", "hyperband"])
@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "cmaes"])
def test_every_sampler_stays_in_a_narrowed_space(
    sampler: str, pruner: str, steer: Steer, sweep_settings: Settings
) -> None:
    spec = make_spec(
        space=SPACE,
        search={"sampler": sampler, "pruner": pruner, "seed": 1},
        budget={"trials": 30, "evaluations": 3},
    )
    driver = steer(spec, [(of(12, Happening.EVALUATED, 1), NARROW)], LocalExecutor(2))
    trials = swept(driver).trials
    assert not all(is_inside(trial) for trial in trials[:13])
    assert all(is_inside(trial) for trial in trials[15:])
    assert len({tuple(trial.chosen.items()) for trial in trials[15:]}) > 5
    assert all(trial.state.is_final for trial in trials)
    [(state, answer)] = answers(sweep_settings)
    assert state is WishState.DONE
    assert "hidden_size: integer from 16 to 32, step 8" in answer
    told = load_study(driver.ledger, "test").trials
    assert all(told[trial.number].params == trial.chosen for trial in trials)


def test_forecasts_go_on_in_a_narrowed_space_as_those_of_a_driver_that_begins_with_it(steer: Steer) -> None:
    search = {"sampler": "cost_aware", "pruner": "curves", "seed": 1}
    spec = make_spec(space=SPACE, search=search, budget={"trials": 20, "evaluations": 3})
    sweep = swept(steer(spec, [(of(12, Happening.EVALUATED, 1), NARROW)], LocalExecutor(2)))
    assert all(is_inside(trial) for trial in sweep.trials[15:])
    assert isinstance(sweep.promotion, Curves)
    assert sweep.promotion.points == Curves.of(sweep.study.spec).points != Curves.of(spec).points


@pytest.mark.parametrize("sampler", ["tpe", "qmc", "gp", "cmaes"])
def test_samplers_learn_from_old_trials_inside_a_narrowed_space_together_with_new_ones(
    sampler: str, sweep_settings: Settings
) -> None:
    """Optuna drops a parameter whose range was not always the same from what it learns, and draws it at random."""
    spec = make_spec(space=SPACE, search={"sampler": sampler}, budget={"trials": 99})
    ledger = Ledger(sweep_settings.study_url)
    lease = Lease(ledger, "test")
    claim(ledger, spec, lease)
    study = SweepStudy(ledger, spec, lease.owner)
    for _ in range(25):
        trial = study.ask()
        record(study, trial, Progress(0, 1, {"valid_loss": trial.chosen["quality"]}, "x", 1.0))
        study.tell(trial, TrialState.COMPLETE)
    narrowed, _ = steering_module.changed(spec, *NARROW)
    study.respec(narrowed)
    for _ in range(6):
        trial = study.ask()
        assert is_inside(trial)
        record(study, trial, Progress(0, 1, {"valid_loss": trial.chosen["quality"]}, "x", 1.0))
        study.tell(trial, TrialState.COMPLETE)
        with study._memory.asked():
            frozen = study._memory.get_all_trials(study._memory_study)[-1]
            known = study.study.sampler.infer_relative_search_space(study.study, frozen)
        names = {"quality", "hidden_size"} | ({"cell_type"} if sampler != "cmaes" else set())  # it knows no choices
        assert set(known) == names
        assert known == {name: narrowed.space[name].distribution() for name in names}
    # The next driver, which has the trials from the database alone, sees and asks the same.
    again = SweepStudy(ledger, narrowed, lease.owner)
    again.records()
    assert again.ask().chosen == study.ask().chosen


def test_a_parameter_whose_condition_can_no_longer_be_met_leaves_the_space(steer: Steer) -> None:
    space = {
        "fate": ["none", "nothing", "naught"],
        "quality": {"float": [0.1, 1.0], "when": {"fate": ["none", "nothing"]}},
        "hidden_size": {"int": [1, 9], "when": {"fate": ["naught"]}},
    }
    spec = make_spec(space=space, search={"sampler": "tpe"}, budget={"trials": 24, "evaluations": 2})
    wish = narrow(fate=["nothing"])
    driver = steer(spec, [(of(11, Happening.ENDED), wish)], LocalExecutor(1))
    after = spec_from(driver.ledger.sweep("test").spec)
    assert set(after.space) == {"fate", "quality"}
    assert all(set(trial.chosen) == {"fate", "quality"} for trial in swept(driver).trials[13:])
