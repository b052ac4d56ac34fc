"""How a sweep stands, read from the database alone: by whoever looks, while a driver runs it or not."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.database.ledger import DriverRow, Ledger, SweepRow
from orchestrator.database.stints import read_stints
from orchestrator.database.stored import read_sweep
from orchestrator.database.wishes import Wish, open_wishes
from orchestrator.spec import SweepSpec, trials_allowed
from orchestrator.trial import TrialRecord, best_trial, trial_ahead
from orchestrator.wording import count_states
from orchestrator.workers import WorkerState, find_workers

LAST_ENDED = 10
"""Trials that ended last, in what is written for scripts."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One sweep at one moment."""

    row: SweepRow
    spec: SweepSpec
    trials: list[TrialRecord]
    best: TrialRecord | None
    """The best of the complete trials."""
    driver: DriverRow | None = None
    """Who drives it, or drove it last."""

    wishes: list[Wish] = field(default_factory=list)
    """Those that nobody has carried out yet."""
    workers: list[WorkerState] = field(default_factory=list)
    """Those of the driver at work; none where nobody drives it."""

    @property
    def wanted(self) -> list[str]:
        """Return the wishes in words."""
        return [wish.words for wish in self.wishes]

    @property
    def metric(self) -> str:
        """Return the metric that is made best."""
        return str(self.spec.objective.metric)

    @property
    def state(self) -> str:
        """Return the sweep's state, `dead` where its driver is gone without having said so."""
        return state_of(self.row)

    @property
    def job(self) -> dict[str, str]:
        """Return job and address of the cluster that drives the sweep; nothing where no job does."""
        driver = self.driver
        if driver is None or not driver.job or driver.owner != self.row.owner:
            return {}
        return {"job": driver.job, "address": driver.address}

    @property
    def under_way(self) -> list[TrialRecord]:
        """Return the trials that have begun and not ended, whether or not anyone trains them now."""
        return [trial for trial in self.trials if not trial.state.is_final]

    @property
    def ahead(self) -> TrialRecord | None:
        """Return the best of the trials that have not ended, by their last values, while none is complete."""
        return None if self.best else trial_ahead(self.trials, self.metric, self.spec.objective.direction)

    @property
    def ended(self) -> int:
        """Return the number of trials to which nothing more will happen."""
        return sum(trial.state.is_final for trial in self.trials)

    @property
    def hours_left(self) -> float:
        """Return what is left of the budget of hours; infinite where there is none."""
        hours = self.spec.budget.hours
        return math.inf if hours is None else max(hours - self.row.elapsed_s / 3600, 0.0)

    def plain(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        host, pid = driver_of(self.row)
        return {
            "name": self.row.name,
            "workload": self.spec.workload.kind,
            "state": self.state,
            "message": self.row.message,
            "driver": {"host": host, "pid": pid, **self.job} if self.row.is_driven else None,
            "stop_requested": self.row.is_driven and self.row.stop_requested,
            "created": self.row.created,
            "elapsed_s": round(self.row.elapsed_s, 1),
            "budget": {"trials": trials_allowed(self.spec), "hours": self.spec.budget.hours},
            "trials": {"begun": len(self.trials), "ended": self.ended, "by_state": count_states(self.trials)},
            "metric": self.metric,
            "direction": self.spec.objective.direction,
            "cost": self.spec.objective.cost,
            "best": self.best and plain_trial(self.best, self.metric),
            "ahead": self.ahead and plain_trial(self.ahead, self.metric),
            "under_way": [plain_trial(trial, self.metric) for trial in self.under_way],
            "workers": [worker.plain(self.metric, self.spec.budget.evaluations) for worker in self.workers],
            "last_ended": [plain_trial(trial, self.metric) for trial in last_ended(self.trials)[:LAST_ENDED]],
            "wishes": [wish.plain() for wish in self.wishes],
            "model": self.row.model,
        }


def standing(ledger: Ledger, row: SweepRow) -> Standing:
    """Read how a sweep stands; SpecError where its spec can no longer be read."""
    spec, trials = read_sweep(ledger, row.name)
    # After the trials: a stint ends before its trial does, so that no worker is said to train one that has ended.
    stints = read_stints(ledger, row.name, owner=row.owner) if row.is_driven else []
    best = best_trial(trials, str(spec.objective.metric), spec.objective.direction)
    workers = find_workers(stints, trials)
    return Standing(row, spec, trials, best, ledger.driver(row.name), open_wishes(ledger, row.name), workers)


def state_of(row: SweepRow) -> str:
    """Return the state that the row shows, `dead` where it claims to run and nobody runs it."""
    return "dead" if row.state == "running" and not row.is_driven else row.state


def driver_of(row: SweepRow) -> tuple[str, int]:
    """Return host and process of the driver; an empty host where there is none."""
    if not row.is_driven or row.owner is None:
        return "", 0
    host, pid, *_ = row.owner.split(":")
    return host, int(pid)


def last_ended(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that have ended, the last of them first."""
    return sorted((trial for trial in trials if trial.state.is_final), key=lambda trial: -(trial.ended or 0.0))


def plain_trial(trial: TrialRecord, metric: str) -> dict[str, Any]:
    """Return one trial as plain values."""
    return {
        "trial": trial.number,
        "state": str(trial.state),
        "reason": trial.reason,
        "value": trial.value(metric),
        "evaluations": len(trial.evaluations),
        "sequence_steps": trial.last.sequence_steps if trial.last else 0,
        "seconds": round((trial.ended or time.time()) - trial.started, 1),
        "setting": dict[str, Any](trial.chosen),
    }
