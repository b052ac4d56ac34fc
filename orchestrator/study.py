"""The Optuna study of a sweep: samplers and pruners by name, asking, reporting, telling, and taking up again."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SweepNotFound
from orchestrator.ledger import Ledger
from orchestrator.space import suggest
from orchestrator.spec import SweepSpec, spec_from, trials_allowed
from orchestrator.trial import TrialRecord, TrialState

if TYPE_CHECKING:
    import optuna
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

    from workloads.protocol import Progress

INFEASIBLE = (TrialState.DIVERGED, TrialState.OUT_OF_MEMORY)
"""Told to Optuna as pruned and infeasible: the sampler learns to stay away, which it does not from a failed trial."""


class SweepStudy:
    """One sweep's trials, in Optuna and in the ledger. Only the driver that holds the lease may write."""

    def __init__(self, ledger: Ledger, spec: SweepSpec) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.ledger, self.spec = ledger, spec
        self.metric = str(spec.objective.metric)
        with quietly():
            self.study: Study = optuna.create_study(
                study_name=spec.name,
                storage=open_storage(ledger.url),
                direction=spec.objective.direction or "minimize",
                load_if_exists=True,
                pruner=make_pruner(spec),
                sampler=make_sampler(spec, 0),
            )
        self._asked: dict[int, Trial] = {}

    @property
    def trials_allowed(self) -> int:
        """Return how many trials the sweep may have: its budget, or fewer where a grid holds no more."""
        return trials_allowed(self.spec)

    def ask(self) -> TrialRecord:
        """Begin a new trial with the sampler's next setting."""
        with quietly():
            # The sampler is not in the database. Seeded by the trial's number, it draws the same
            # settings whether or not the driver was replaced in between.
            number = len(self.study.get_trials(deepcopy=False))
            self.study.sampler = make_sampler(self.spec, number)
            return self._begin(self.study.ask(), time.time())

    def _begin(self, trial: Trial, started: float) -> TrialRecord:
        chosen = suggest(trial, self.spec.space)
        self._asked[trial.number] = trial
        return TrialRecord(trial.number, chosen, self.spec.params(chosen), started)

    def records(self) -> list[TrialRecord]:
        """Return every trial there is, those that a dead driver left under way ready to go on."""
        recorded = self.ledger.evaluations(self.spec.name)
        return [
            self._record(frozen, recorded.get(frozen.number, [])) for frozen in self.study.get_trials(deepcopy=False)
        ]

    def _record(self, frozen: FrozenTrial, evaluations: list[Progress]) -> TrialRecord:
        import optuna

        started = frozen.datetime_start.timestamp() if frozen.datetime_start else time.time()
        if frozen.state.is_finished():
            record = finished_record(self.spec, frozen, evaluations)
        else:
            with quietly():
                self.study.sampler = make_sampler(self.spec, frozen.number)
                trial = optuna.trial.Trial(self.study, frozen._trial_id)
                record = self._begin(trial, started)
            record.evaluations = evaluations
            for progress in evaluations:  # those acknowledged that a kill kept from being reported
                if progress.evaluation + 1 not in frozen.intermediate_values:
                    trial.report(progress.metrics[self.metric], progress.evaluation + 1)
        return record

    def record(self, trial: TrialRecord, progress: Progress) -> None:
        """Acknowledge an evaluation: from here on it is never trained again."""
        self.ledger.record(self.spec.name, trial.number, progress)
        trial.evaluations.append(progress)
        # Optuna's pruners take steps for a resource that begins at 1.
        self._asked[trial.number].report(progress.metrics[self.metric], progress.evaluation + 1)

    def should_prune(self, trial: TrialRecord) -> bool:
        """Ask the pruner whether the trial's latest evaluation is worth going on from."""
        with quietly():
            return self._asked[trial.number].should_prune()

    def tell(self, trial: TrialRecord, state: TrialState, reason: str = "") -> None:
        """End a trial, with the reason kept beside it."""
        import optuna

        asked = self._asked.pop(trial.number)
        if reason:
            asked.set_user_attr("reason", reason)
        if state in INFEASIBLE or state is TrialState.FAILED:
            asked.set_user_attr("state", str(state))
        if state in INFEASIBLE:
            asked.set_constraint("trainable", 1.0)
        told = {
            TrialState.COMPLETE: optuna.trial.TrialState.COMPLETE,
            TrialState.FAILED: optuna.trial.TrialState.FAIL,
        }.get(state, optuna.trial.TrialState.PRUNED)
        value = trial.value(self.metric) if state is TrialState.COMPLETE else None
        with quietly():
            self.study.tell(asked, value, state=told)
        trial.state, trial.reason, trial.ended = state, reason, time.time()


def finished_record(spec: SweepSpec, frozen: FrozenTrial, evaluations: list[Progress]) -> TrialRecord:
    """Return what is known of a trial as it stands in the database; changes nothing."""
    chosen = dict(frozen.params)
    started = frozen.datetime_start.timestamp() if frozen.datetime_start else 0.0
    ended = frozen.datetime_complete.timestamp() if frozen.datetime_complete else None
    state = TrialState(frozen.user_attrs.get("state") or _STATES.get(frozen.state.name, TrialState.RUNNING))
    reason = str(frozen.user_attrs.get("reason", ""))
    return TrialRecord(
        frozen.number, chosen, spec.params(chosen), started, list(evaluations), state=state, reason=reason, ended=ended
    )


_STATES = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAIL": TrialState.FAILED}


def read_sweep(ledger: Ledger, name: str) -> tuple[SweepSpec, list[TrialRecord]]:
    """Return the spec and all trials of a sweep, as someone who only looks; SweepNotFound where there is none."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spec = spec_from(ledger.sweep(name).spec)
    recorded = ledger.evaluations(name)
    try:
        study = optuna.load_study(study_name=name, storage=open_storage(ledger.url))
    except KeyError:
        return spec, []
    return spec, [
        finished_record(spec, frozen, recorded.get(frozen.number, [])) for frozen in study.get_trials(deepcopy=False)
    ]


def load_study(ledger: Ledger, name: str) -> Study:
    """Return the Optuna study behind a sweep; SweepNotFound where there is none."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        return optuna.load_study(study_name=name, storage=open_storage(ledger.url))
    except KeyError as error:
        raise SweepNotFound(f"{name} has no trials yet") from error


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """Return Optuna's storage on the sweeps' database."""
    import optuna
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    try:
        return optuna.storages.get_storage(url)
    except (IntegrityError, OperationalError, ProgrammingError):
        # Another process was making the tables of a new database at the same moment; by now it has.
        time.sleep(1.0)
        return optuna.storages.get_storage(url)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep Optuna's notes to programmers (experimental features, fallbacks to random) from a user's terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def make_sampler(spec: SweepSpec, number: int) -> BaseSampler:
    """Return the sampler that `search.sampler` names, for the trial of that number."""
    from optuna import samplers

    name, seed = spec.search.sampler, spec.search.seed
    # Samplers that walk a sequence kept in the database keep their seed; the others draw anew for each trial.
    drawn = (seed * 1_000_003 + number) % 2**32
    if name == "random":
        return samplers.RandomSampler(seed=drawn)
    if name == "gp":
        return samplers.GPSampler(seed=drawn)
    if name == "qmc":
        return samplers.QMCSampler(seed=seed, scramble=True)
    if name == "cmaes":
        return samplers.CmaEsSampler(seed=drawn, warn_independent_sampling=False)
    if name == "grid":
        return make_grid_sampler({key: parameter.grid() or [] for key, parameter in spec.space.items()}, seed)
    return samplers.TPESampler(seed=drawn, multivariate=True, group=True, constant_liar=True)


def make_grid_sampler(space: dict[str, Sequence[Any]], seed: int) -> BaseSampler:
    """Return a grid sampler that leaves it to the driver to end the sweep."""
    from optuna.samplers import GridSampler

    class CountedGridSampler(GridSampler):
        def after_trial(self, *_: Any) -> None:
            """Do not call study.stop(), which is an error outside Optuna's own loop."""

    return CountedGridSampler(space, seed=seed)


def make_pruner(spec: SweepSpec) -> BasePruner:
    """Return the pruner that `search.pruner` names; its resource is the evaluation, counted from 1."""
    from optuna import pruners

    evaluations = spec.budget.evaluations
    warmup = max(evaluations // 10, 1)
    made: dict[str, Any] = {
        "none": pruners.NopPruner,
        "median": lambda: pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=warmup),
        "percentile": lambda: pruners.PercentilePruner(25.0, n_startup_trials=4, n_warmup_steps=warmup),
        "successive_halving": lambda: pruners.SuccessiveHalvingPruner(min_resource=warmup, reduction_factor=3),
        "hyperband": lambda: pruners.HyperbandPruner(min_resource=warmup, max_resource=evaluations, reduction_factor=3),
        "patient": lambda: pruners.PatientPruner(pruners.MedianPruner(n_startup_trials=4), patience=2),
    }
    pruner: BasePruner = made[spec.search.pruner]()
    return pruner
