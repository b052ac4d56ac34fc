"""The driver: the one process that runs a sweep. It brings the parts together, and leaves the sweep fit to go on."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Thread
from typing import Any

from orchestrator.checkpoints.retention import Retention
from orchestrator.checkpoints.storage import CheckpointStorage
from orchestrator.cost import REMEMBERED, Expectation, expect, sizes_of
from orchestrator.database.lease import Lease, LeaseKeeper
from orchestrator.database.ledger import DriverRow, Ledger, SweepRow
from orchestrator.database.patience import OPENING_S, PATIENCE_S
from orchestrator.database.stints import Stints
from orchestrator.database.stored import ENVIRONMENT, has_trials
from orchestrator.database.wishes import specs_before
from orchestrator.errors import BpttError, LeaseLost, SpecChanged, SweepNotFound, Unreachable, UserError, presentable
from orchestrator.event import Event
from orchestrator.executors.base import Executor
from orchestrator.search.study import SweepStudy
from orchestrator.search.warm_start import begin_warm
from orchestrator.settings import Settings
from orchestrator.spec import Resources, SweepSpec, difference, is_of_resources, spec_from
from orchestrator.steering import Steering
from orchestrator.sweep import Sweep
from orchestrator.tracking.base import Model, Tracker
from orchestrator.trial import Job, TrialRecord, best_trial
from orchestrator.versions import versions
from orchestrator.wording import setting as setting_in_words
from workloads.protocol import Dataset, Workload

DATA_AT_ONCE_S = 0.5
"""Data that take longer to prepare are prepared while Ray starts; what is wrong with them is mostly told before."""
TRACKING_PATIENCE_S = 60.0
"""How long the end of a sweep waits for a tracking server that is behind or away."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run of the driver ended."""

    state: str
    """`finished`, `interrupted` or `failed`."""
    message: str
    best: TrialRecord | None
    model: str | None
    """URI of the registered model."""
    tracked: bool
    """Whether everything is in MLflow; False where the server was away until the end."""


class Driver:
    """Runs one sweep: `with Driver(...) as driver: for event in driver.run(): ...`, then `driver.outcome`."""

    def __init__(self, settings: Settings, spec: SweepSpec, *, executor: Executor, tracker: Tracker) -> None:
        self.settings, self.spec = settings, spec
        self.executor, self.tracker = executor, tracker
        self.ledger = Ledger(settings.study_url, opening_s=OPENING_S, patience_s=PATIENCE_S)
        self.lease = Lease(self.ledger, spec.name, seconds=settings.lease_s)
        self.workload: Workload = spec.load_workload()
        self.outcome: Outcome | None = None
        self.sweep: Sweep | None = None
        self.notes: list[str] = []
        """What the user should know of the costs predicted."""

    def __enter__(self) -> Driver:
        given = self.spec
        was_over = is_over(self.ledger, given.name)
        self.spec = claim(self.ledger, given, self.lease)
        if self.spec.plain() != given.plain():
            self.notes.append(f"goes on as it was steered since its file: {'; '.join(difference(given, self.spec))}")
        self.keeper = LeaseKeeper(self.lease, limit_s=self._seconds_left())
        self.keeper.start()
        try:
            self.ledger.enter_driver(this_driver(self.spec.name, self.lease.owner))
            self.sweep = self._open(warm_up=not was_over)
            self.keeper.check()
        except BaseException as error:
            self._break_off("interrupted", error)
            raise
        return self

    def _seconds_left(self) -> float:
        hours = self.spec.budget.hours
        return math.inf if hours is None else hours * 3600 - self.ledger.sweep(self.spec.name).elapsed_s

    def _open(self, *, warm_up: bool) -> Sweep:
        if warm_up:
            self.executor.warm_up(DATA_AT_ONCE_S)
            self.tracker.warm_up()
        try:
            dataset = self.workload.prepare()
        except (ValueError, OSError) as error:
            raise UserError(str(error)) from error
        row = self.ledger.sweep(self.spec.name)
        self._recognise(dataset, row.dataset)
        if warm_up:
            self.executor.warm_up()
        study = SweepStudy(self.ledger, self.spec, self.lease.owner)
        checkpoints = CheckpointStorage(self.settings.checkpoints).within(self.spec.name)
        trials = study.records()
        self.tracker.open(as_it_began(self.ledger, self.spec), dataset, trials)
        if self.spec.search.earlier and not trials:
            taken = begin_warm(self.ledger, self.spec, dataset.fingerprint)
            self.notes += [f"begins with {setting_in_words(setting)}, found before" for setting in taken]
        steering = Steering(self.ledger, self.spec.name, self.lease.owner)
        retention = Retention(self.spec, checkpoints, self.settings.keep)
        stints = Stints(study.writes)
        sweep = Sweep(
            study, self.executor, self.tracker, checkpoints, self.keeper, steering, retention, stints, trials=trials
        )
        for _ in steering.listen(sweep, now=True):  # a wish may be for more than a sweep that is complete has
            pass
        self.spec = study.spec
        if not sweep.is_complete and not self.keeper.out_of_time.is_set():
            expected = self._expect(dataset)
            sweep.room, self.notes = expected.room, [*self.notes, *expected.notes]
            self.executor.open(self._job(dataset, checkpoints.folder, expected.resources))
            environment = {"versions": versions(), "cpus": expected.resources.cpus, "keep": self.settings.keep}
            study.durable.describe(ENVIRONMENT, environment)
        return sweep

    def _expect(self, dataset: Dataset) -> Expectation:
        """Predict what trials take; UserError where no setting at all has room."""
        sizes = sizes_of(self.workload, dataset)
        if sizes is None and not self.spec.resources.is_auto:
            return Expectation(self.spec.resources)
        return expect(
            self.spec,
            sizes,
            self.executor.machine(self.settings.memory_gb),
            measure=self.executor.measure,
            remembered=self.settings.runs / REMEMBERED,
        )

    def _job(self, dataset: Dataset, checkpoints: str, resources: Resources) -> Job:
        workload = self.spec.workload
        return Job(
            self.spec.name,
            workload.kind,
            workload.options,
            dataset,
            checkpoints,
            cpus=resources.cpus,
            gpus=resources.gpus,
            memory_gb=resources.memory_gb,
            custom=resources.custom,
            accelerator=resources.accelerator,
            placement=resources.placement,
        )

    def _recognise(self, dataset: Dataset, known: Mapping[str, Any]) -> None:
        """Refuse to go on with other data under the same name: trials could not be compared."""
        facts = {
            "name": dataset.name,
            "source": dataset.source,
            "fingerprint": dataset.fingerprint,
            "baselines": dict(dataset.baselines),
            "sizes": {name: list(array.shape) for name, array in dataset.arrays.items()},
        }
        if known and known["fingerprint"] != dataset.fingerprint and has_trials(self.ledger, self.spec.name):
            raise UserError(
                f"workload: the data have changed since {self.spec.name} began (fingerprint {known['fingerprint']}, "
                f"now {dataset.fingerprint}); restore them, or give the sweep another name"
            )
        if known != facts:
            self.ledger.update(self.spec.name, held_by=self.lease.owner, dataset=facts)

    def stop(self, reason: str) -> None:
        """Ask the sweep to end after the evaluations under way."""
        if self.sweep is not None:
            self.sweep.stop(reason)

    def run(self) -> Iterator[Event]:
        """Drive the sweep to its end, its budget or a request to stop, then register the winner."""
        sweep = self._running()
        yield from sweep.run()
        best = best_trial(sweep.trials, sweep.study.metric, self.spec.objective.direction)
        used_up = sweep.is_complete or sweep.is_out_of_time
        if used_up and best is None:
            self._finish("failed", f"no trial was trained to its end; {sweep.stopping}".rstrip("; "), None)
        elif used_up:
            self._finish("finished", sweep.stopping, best)
        else:
            self._finish("interrupted", sweep.stopping, best)

    def _running(self) -> Sweep:
        if self.sweep is None:
            raise RuntimeError("the driver is entered before it runs")
        return self.sweep

    def _finish(self, state: str, message: str, best: TrialRecord | None) -> None:
        closing = Thread(target=self.executor.close, name="closing", daemon=True)
        closing.start()  # meanwhile the model is registered
        model = None
        if best is not None and state == "finished":
            try:
                self.keeper.check()
                model = self._register(best)
            except LeaseLost:
                raise
            except (BpttError, OSError, ValueError, RuntimeError) as error:
                # The trials are safe in the database; running the sweep again registers the model.
                message = presentable(str(error))
        shown = best and best.summary(self._running().study.metric)
        summary = {"state": state, "message": message, "best": shown, "model": model}
        tracked = self.tracker.close(summary, TRACKING_PATIENCE_S)
        closing.join()
        self.outcome = Outcome(state, message, best, model, tracked)

    def _register(self, best: TrialRecord) -> str | None:
        if best.last is None:
            return None
        content = self._running().checkpoints.read(best.last.checkpoint)
        workload = self.spec.workload
        uri = self.tracker.register(Model(best, content, workload.kind, workload.options))
        if uri is not None:
            self.ledger.update(self.spec.name, held_by=self.lease.owner, model=uri)
        return uri

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self.outcome is None:
            # A sweep that broke down can go on: only a fault of its own making ends it.
            can_go_on = isinstance(error, Unreachable) or not isinstance(error, BpttError)
            self._break_off("interrupted" if can_go_on else "failed", error)
        else:
            self.keeper.stop()
            self.lease.give_back(self.outcome.state, self.outcome.message)

    def _break_off(self, state: str, error: BaseException | None) -> None:
        message = presentable(str(error)) if isinstance(error, Exception) else ""
        with contextlib.suppress(Exception):
            self.executor.close()
        with contextlib.suppress(Exception):
            if isinstance(error, LeaseLost):
                self.tracker.abandon()
            else:
                self.tracker.close({"state": state, "message": message, "best": None, "model": None}, 5.0)
        self.keeper.stop()
        self.lease.give_back(state, message)


def this_driver(sweep: str, owner: str) -> DriverRow:
    """Return who drives a sweep here: a job of a cluster, where the job's variables say so."""
    address, job = os.environ.get("BPTT_JOBS_ADDRESS", ""), os.environ.get("BPTT_JOB", "")
    return DriverRow(sweep, owner, owner.partition(":")[0], address, job, time.time())


def claim(ledger: Ledger, spec: SweepSpec, lease: Lease) -> SweepSpec:
    """Enter the sweep in the database, or recognise it there, and take its lease; SpecChanged shows what is different.

    Returns the spec to go on with: that of the database where `spec` is what it was before the user steered it.
    Resources may differ, since a sweep may go on elsewhere; and so may anything while it has no trials, since then
    the file was only being put right. Raises SweepHeld where another driver has the lease.
    """
    try:
        row = ledger.sweep(spec.name)
    except SweepNotFound:
        ledger.create(spec.name, spec.plain())
    else:
        # Before the lease is asked for, so that a changed file is refused as one while another driver runs the sweep.
        refuse_changes(row, as_steered(ledger, row, spec), fixed=row.is_driven)
    row = lease.take()
    try:
        spec = as_steered(ledger, row, spec)
        begun = has_trials(ledger, spec.name)
        refuse_changes(row, spec, fixed=begun)  # another driver may have been here in the meantime
        if row.spec != spec.plain():
            dataset = row.dataset if begun else {}
            ledger.update(spec.name, held_by=lease.owner, spec=spec.plain(), dataset=dataset)
    except BaseException:
        lease.give_back(row.state, row.message)
        raise
    return spec


def is_over(ledger: Ledger, name: str) -> bool:
    """Tell whether a sweep ran to its end before; `bptt run` on it then mostly has nothing to train."""
    try:
        return ledger.sweep(name).state == "finished"
    except SweepNotFound:
        return False


def as_steered(ledger: Ledger, row: SweepRow, spec: SweepSpec) -> SweepSpec:
    """Return the spec of the database, with the resources of `spec`, where `spec` is one that was steered since."""
    for before in specs_before(ledger, row.name):
        if all(is_of_resources(line.partition(":")[0]) for line in difference(spec_from(before), spec)):
            return spec_from({**row.spec, "resources": spec.plain()["resources"]})
    return spec


def as_it_began(ledger: Ledger, spec: SweepSpec) -> SweepSpec:
    """Return the spec with the space that the sweep had at first: MLflow's params cannot change."""
    first = next(iter(specs_before(ledger, spec.name)), None)
    return spec if first is None else spec.model_copy(update={"space": spec_from(first).space})


def refuse_changes(row: SweepRow, spec: SweepSpec, *, fixed: bool) -> None:
    """Raise SpecChanged where the sweep is `fixed` and its trials could not be compared with those of `spec`."""
    changes = [line for line in difference(spec_from(row.spec), spec) if not is_of_resources(line.partition(":")[0])]
    if changes and fixed:
        raise SpecChanged(
            f"{spec.name} exists with another spec ({'; '.join(changes)}); give this one another name, or use "
            "`bptt extend` for more trials and `bptt narrow` for a narrower space"
        )
