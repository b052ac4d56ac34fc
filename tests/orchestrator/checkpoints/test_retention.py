"""What a sweep leaves behind: enough to go on and to predict, and no more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.checkpoints.retention import superseded, worth_keeping
from orchestrator.checkpoints.storage import CheckpointStorage
from orchestrator.database.stored import read_sweep
from orchestrator.driver import Driver
from orchestrator.event import Event, Happening
from orchestrator.executors.local import LocalExecutor
from orchestrator.settings import Settings
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import TrialState, best_trial
from tests.orchestrator.conftest import Drive, make_spec, swept
from tests.orchestrator.recorded import Recorded, record_sweep, spec_with


def files_of(settings: Settings) -> Counter[str]:
    """Return the number of checkpoints by trial."""
    folder = Path(settings.checkpoints.removeprefix("file://")) / "test"
    return Counter(path.parent.name for path in folder.rglob("*") if path.is_file())


def test_while_it_runs_a_sweep_keeps_the_best_and_what_goes_on(sweep_settings: Settings) -> None:
    driver = Driver(sweep_settings, make_spec(), executor=LocalExecutor(2), tracker=NoTracker())
    with driver:
        for event in driver.run():
            best = best_trial(swept(driver).trials, "valid_loss", "minimize")
            if event.happening is Happening.TICK:
                ended = {f"trial-{trial.number:05d}" for trial in swept(driver).trials if trial.state.is_final}
                there = files_of(sweep_settings)
                assert {name for name in there if name in ended} == ({f"trial-{best.number:05d}"} if best else set())
                assert all(count <= 3 for count in there.values())  # two, and one that is not acknowledged yet
    assert best is not None
    assert files_of(sweep_settings) == {f"trial-{best.number:05d}": 1}
    folder = Path(sweep_settings.checkpoints.removeprefix("file://")) / "test"
    assert len(list(folder.iterdir())) == 1  # no empty folders


def test_every_trials_last_checkpoint_stays_where_that_is_wanted(sweep_settings: Settings) -> None:
    settings = sweep_settings.model_copy(update={"keep": "all"})
    with Driver(settings, make_spec(), executor=LocalExecutor(2), tracker=NoTracker()) as driver:
        for _ in driver.run():
            pass
    assert files_of(settings) == {f"trial-{number:05d}": 1 for number in range(6)}


def test_a_stopped_sweep_keeps_the_last_two_of_what_goes_on(drive: Drive, sweep_settings: Settings) -> None:
    def third(event: Event) -> bool:
        return event.trial is not None and len(event.trial.evaluations) == 3

    drive(make_spec(), LocalExecutor(1), until=third)
    assert files_of(sweep_settings) == {"trial-00000": 2}


def test_what_a_killed_driver_had_not_deleted_goes_when_the_sweep_is_taken_up(
    drive: Drive, sweep_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fourth_ended(event: Event) -> bool:
        return event.happening is Happening.ENDED and event.trial is not None and event.trial.number == 3

    with monkeypatch.context() as undeletable:
        undeletable.setattr(CheckpointStorage, "delete", lambda *_: False)
        drive(make_spec(), LocalExecutor(1), until=fourth_ended)
    assert sum(files_of(sweep_settings).values()) >= 20
    trials = swept(drive(make_spec(), LocalExecutor(1))).trials
    winner = best_trial(trials, "valid_loss", "minimize")
    assert winner is not None
    assert files_of(sweep_settings) == {f"trial-{winner.number:05d}": 1}


def recorded(value: float, memory: float, state: TrialState | None = TrialState.COMPLETE) -> Recorded:
    return Recorded("lstm", 16, [2.0, value], state, metrics={"peak_memory_mb": memory})


TRIALS = [
    recorded(1.0, 300.0),
    recorded(1.5, 100.0),
    recorded(1.4, 200.0),
    recorded(1.6, 250.0),  # beaten in both
    recorded(0.5, 50.0, TrialState.PRUNED),  # not trained to its end
    recorded(0.4, 50.0, None),
]


@pytest.mark.parametrize(("cost", "kept"), [(None, {0}), ("memory", {0, 1, 2})])
def test_the_front_is_kept_where_trials_have_a_cost(cost: str | None, kept: set[int], sweep_settings: Settings) -> None:
    spec = spec_with(objective={"metric": "valid_loss", "cost": cost}, search={"sampler": "random"})
    ledger = record_sweep(sweep_settings, TRIALS, spec=spec, state="interrupted")
    spec, trials = read_sweep(ledger, spec.name)
    assert worth_keeping(spec, trials, "best") == kept
    assert worth_keeping(spec, trials, "all") == {0, 1, 2, 3, 4}
    assert len(list(superseded(spec, trials, "all"))) == 5
    assert len(list(superseded(spec, trials, "best"))) == 10 - len(kept)  # the last trial has not ended


def test_where_nothing_is_complete_nothing_that_ended_is_kept(sweep_settings: Settings) -> None:
    ledger = record_sweep(sweep_settings, [recorded(1.0, 1.0, TrialState.PRUNED)])
    assert worth_keeping(*read_sweep(ledger, "recorded"), "best") == set()
