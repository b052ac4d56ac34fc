"""What each worker does, from the stints of a driver."""

from __future__ import annotations

from orchestrator.database.lease import Lease
from orchestrator.database.stints import Stint, Stints
from orchestrator.database.writes import Writes
from orchestrator.settings import Settings
from orchestrator.standing import standing
from orchestrator.trial import TrialRecord, TrialState
from orchestrator.workers import Doing, find_workers
from tests.orchestrator.recorded import Recorded, record_sweep
from workloads.protocol import Progress

TRIALS = [TrialRecord(number, {}, {}, 0.0, [Progress(0, 10, {"loss": 0.5}, "", 0.0)]) for number in range(3)]


def test_a_worker_does_what_its_latest_stint_says() -> None:
    stints = [
        Stint(0, "host/2", "me", began=10.0, ended=20.0, how="pruned"),
        Stint(1, "host/10", "me", began=11.0, ended=15.0, how="complete"),
        Stint(2, "host/2", "me", began=21.0, ended=None, how=""),
        Stint(1, "host/3", "me", began=22.0, ended=25.0, how="lost"),
    ]
    training, gone, idle = find_workers(stints, TRIALS)
    assert (training.worker, training.doing, training.since) == ("host/2", Doing.TRAINING, 21.0)
    assert (training.number, training.trial) == (2, TRIALS[2])
    assert (gone.worker, gone.doing, gone.since, gone.trial) == ("host/3", Doing.GONE, 25.0, None)
    assert (idle.worker, idle.doing, idle.since, idle.trial) == ("host/10", Doing.IDLE, 15.0, None)


def test_a_trial_that_began_after_trials_were_read_is_known_by_its_number() -> None:
    [worker] = find_workers([Stint(9, "host/1", "me", began=10.0, ended=None, how="")], TRIALS)
    plain = worker.plain("loss", 4)
    assert (plain["doing"], plain["trial"], plain["evaluation"], plain["value"]) == ("training", 9, None, None)


def test_plain_values_say_how_far_the_trial_is() -> None:
    [worker] = find_workers([Stint(1, "host/1", "me", began=10.0, ended=None, how="")], TRIALS)
    plain = worker.plain("loss", 4)
    assert {key: plain[key] for key in ("worker", "doing", "trial", "evaluation", "evaluations", "value")} == {
        "worker": "host/1", "doing": "training", "trial": 1, "evaluation": 1, "evaluations": 4, "value": 0.5
    }  # fmt: skip


def test_a_driver_knows_of_its_workers_what_the_database_knows(sweep_settings: Settings) -> None:
    ledger = record_sweep(sweep_settings, [Recorded("rnn", 8, [2.0], state=None)] * 2)
    lease = Lease(ledger, "recorded")
    lease.take()
    stints = Stints(Writes(ledger, "recorded", lease.owner))
    stints.begin(0, "host/1")
    stints.begin(1, "host/2")
    stints.end(0, TrialState.PRUNED)
    seen = standing(ledger, ledger.sweep("recorded"))
    assert seen.workers == find_workers(stints.latest.values(), seen.trials)
    assert [str(worker.doing) for worker in seen.workers] == ["idle", "training"]


def test_workers_of_a_driver_that_is_gone_are_not_shown(sweep_settings: Settings) -> None:
    ledger = record_sweep(sweep_settings, [Recorded("rnn", 8, [2.0], state=None)])
    lease = Lease(ledger, "recorded")
    lease.take()
    Stints(Writes(ledger, "recorded", lease.owner)).begin(0, "host/1")
    lease.give_back("interrupted", "")
    assert standing(ledger, ledger.sweep("recorded")).workers == []
    another = Lease(ledger, "recorded")
    another.take()
    assert standing(ledger, ledger.sweep("recorded")).workers == []
