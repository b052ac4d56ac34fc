"""Trials as a tracker is told of them, and the runs that came of them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any

from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.tracking.base import Tracker
from orchestrator.tracking.client import open_client
from orchestrator.trial import TrialRecord, TrialState
from workloads.protocol import Progress

CLOSE_WITHIN_S = 20.0


def query(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(settings.runs / "mlflow.db") as connection:
        return connection.execute(sql).fetchall()


def search(settings: Settings, filter_string: str = "") -> list[Any]:
    client = open_client(settings)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, filter_string))


def parents(settings: Settings) -> list[Any]:
    return search(settings, "tags.`bptt.role` = 'sweep'")


def children(settings: Settings) -> dict[int, Any]:
    found = search(settings, "tags.`bptt.trial` LIKE '%'")
    numbered = {int(run.data.tags["bptt.trial"]): run for run in found}
    assert len(numbered) == len(found), "a trial has two runs"
    return numbered


def make_trial(spec: SweepSpec, number: int = 0, evaluations: int = 0, **chosen: Any) -> TrialRecord:
    chosen = chosen or {"quality": 0.5 + number / 100}
    trial = TrialRecord(number, chosen, spec.params(chosen), started=1_700_000_000.0 + number)
    for _ in range(evaluations):
        evaluate(trial)
    return trial


def evaluate(trial: TrialRecord, **metrics: float) -> None:
    index = len(trial.evaluations)
    measured = {"valid_loss": 1 / (index + 1) + trial.number, "train_loss": 0.5, **metrics}
    moment = 1_700_000_100.123 + index
    trial.evaluations.append(Progress(index, 1000 * (index + 1), measured, f"file:///{index}", moment))


def end(trial: TrialRecord, state: TrialState = TrialState.COMPLETE, reason: str = "") -> None:
    trial.state, trial.reason, trial.ended = state, reason, 1_700_001_000.5 + trial.number


def finish(tracker: Tracker, state: str = "finished", **summary: Any) -> None:
    assert tracker.close({"state": state, **summary}, CLOSE_WITHIN_S), getattr(tracker, "problem", "")


def wait_for(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)
