"""The Optuna study of a sweep: asking, reporting, telling, and taking up again."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.database.durable import Direction, DurableStudy
from orchestrator.database.ledger import Ledger
from orchestrator.database.patience import patiently
from orchestrator.database.stored import PAUSED_AT, PINNED, record_of
from orchestrator.database.writes import Writes
from orchestrator.errors import masked
from orchestrator.search.by_name import distributions_of, make_pruner, make_sampler, quietly
from orchestrator.search.pruning import FirstObjective
from orchestrator.search.verdict import verdict
from orchestrator.space import suggest
from orchestrator.spec import SweepSpec, trials_allowed
from orchestrator.trial import COSTS, TrialRecord, TrialState

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

    from workloads.protocol import Progress

PRUNED_AT = "pruned_at"
"""The evaluation at which a trial is pruned, noted before it is."""
PRUNED_BECAUSE = "pruned_because"
"""Why, in words, noted before that."""
UNPROMISING = "not promising"
"""Why a trial was pruned where that is all that is known."""
WISH = "wish"
"""The number of the wish by which the user wanted a trial's setting."""
BLIND_TO_INFEASIBLE = ("gp", "cmaes")
"""Samplers that look at complete trials alone; they are shown the worst value so far in an infeasible trial's place."""
INFEASIBLE = (TrialState.DIVERGED, TrialState.OUT_OF_MEMORY)
"""Told to Optuna as pruned and infeasible: the sampler learns to stay away, which it does not from a failed trial."""


class SweepStudy:
    """One sweep's trials. Only the driver that holds the lease may write.

    Samplers and pruners work on a copy of the study in memory, where reading all trials costs nothing; the database
    is written through, one transaction for each thing that happens, and read once, when a sweep is taken up. A
    trial enters it whole, with its setting: there is no moment at which a kill could leave half of one.

    With `objective.cost` both are studies of two objectives, quality first; pruners judge by quality alone.
    """

    def __init__(self, ledger: Ledger, spec: SweepSpec, owner: str) -> None:
        import optuna

        from orchestrator.search.parzen import KnownPoints
        from orchestrator.search.seen import MOST_SEEN, SeenBySamplers

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.ledger, self.spec, self.owner = ledger, spec, owner
        self.writes = Writes(ledger, spec.name, owner)
        self.metric = str(spec.objective.metric)
        directions: list[Direction] = [spec.objective.direction or "minimize"]
        if spec.objective.cost:
            directions.append("minimize")
        is_limited = spec.search.sampler == "tpe" and len(directions) == 1
        self._memory = SeenBySamplers(most_seen=MOST_SEEN if is_limited else None)
        self._points = KnownPoints()
        self._memory.space = distributions_of(spec)
        with quietly():
            self.durable = patiently(lambda: DurableStudy(self.writes, directions=directions))
            self.study: Study = optuna.create_study(
                study_name=spec.name,
                storage=self._memory,
                directions=directions,
                # Two objectives are pruned by the study beside this one.
                pruner=optuna.pruners.NopPruner() if spec.objective.cost else make_pruner(spec),
            )
            self._first = FirstObjective(spec) if spec.objective.cost else None
        self._memory_study = self._memory.get_study_id_from_name(spec.name)
        self._study_attributes = self.durable.attributes()
        for key, value in self._study_attributes.items():
            self._memory.set_study_system_attr(self._memory_study, key, value)
        self._choices: dict[str, BaseDistribution] = {}  # by parameter, as its first trial had them
        self._under_way: dict[int, Trial] = {}
        self._reporting: dict[int, Trial] = {}  # to the pruner: those under way, or what stands for them there
        self._attributes: dict[int, dict[str, Any]] = {}  # of trials under way, as the database has them
        self._seconds: dict[int, float] = {}  # of an evaluation, by trial
        self._judged: dict[int, tuple[int, str]] = {}  # when trials were to be pruned as a driver was killed, and why

    @property
    def trials_allowed(self) -> int:
        """Return how many trials the sweep may have: its budget, or fewer where a grid holds no more."""
        return trials_allowed(self.spec)

    def respec(self, spec: SweepSpec) -> None:
        """Go on with another budget, or in a narrower space; the caller has written it to the database."""
        self._memory.is_narrowed |= spec.space != self.spec.space
        self.spec, self._memory.space = spec, distributions_of(spec)

    def ask(self, wanted: Mapping[str, Any] | None = None, *, wish: int | None = None) -> TrialRecord:
        """Begin a new trial with the sampler's next setting; what is `wanted` by the user's `wish` is not sampled."""
        number = self._memory.get_n_trials(self._memory_study)
        with quietly(), self._memory.asked():
            # The sampler is not in the database. Seeded by the trial's number, it draws the same
            # settings whether or not the driver was replaced in between.
            self.study.sampler = make_sampler(self.spec, number, points=self._points, seconds=self._seconds)
            if wanted is not None:
                self.study.enqueue_trial(dict(wanted), user_attrs={WISH: wish})
            trial = self.study.ask()
            chosen = suggest(trial, self.spec.space)
        from orchestrator.search.seen import with_choices

        frozen = self._memory.get_trial(trial._trial_id)
        self._keep_study_attributes()  # first: a kill may cost a point of a sequence; none must be taken twice
        self._know_choices(frozen)
        self.durable.create(with_choices(frozen, self._choices))
        self._under_way[trial.number] = trial
        self._reporting[trial.number] = trial if self._first is None else self._first.enter(frozen)
        self._attributes[trial.number] = dict(frozen.system_attrs)
        return TrialRecord(trial.number, chosen, self.spec.params(chosen), time.time())

    def _know_choices(self, trial: FrozenTrial) -> None:
        for name, distribution in trial.distributions.items():
            if type(distribution).__name__ == "CategoricalDistribution":
                self._choices.setdefault(name, distribution)

    def records(self) -> list[TrialRecord]:
        """Return every trial there is, those that a dead driver left under way ready to go on."""
        recorded = self.ledger.evaluations(self.spec.name)
        return [self._take_up(frozen, recorded.get(frozen.number, [])) for frozen in self.durable.trials()]

    def _take_up(self, frozen: FrozenTrial, evaluations: list[Progress]) -> TrialRecord:
        import optuna

        from orchestrator.search.seen import as_seen

        record = record_of(self.spec, frozen, evaluations)
        self._seconds[record.number] = record.training_seconds / max(len(evaluations), 1)
        is_infeasible = record.state in INFEASIBLE
        seen = as_seen(frozen, self._worst() if is_infeasible else None, is_infeasible=is_infeasible)
        if self._first is not None:
            seen.intermediate_values = {}  # TPE compares those of pruned trials, which it cannot with two objectives
        memory_id = self._memory.create_new_trial(self._memory_study, template_trial=seen)
        entered = None if self._first is None else self._first.enter(frozen)
        self._know_choices(frozen)
        self._memory.is_narrowed |= any(
            self._memory.space.get(name) != distribution for name, distribution in frozen.distributions.items()
        )
        if not frozen.state.is_finished():
            self._attributes[frozen.number] = dict(frozen.system_attrs)
            if PRUNED_AT in frozen.user_attrs:
                noted = frozen.user_attrs
                self._judged[frozen.number] = noted[PRUNED_AT], noted.get(PRUNED_BECAUSE, UNPROMISING)
            # A trial object of Optuna's asks its sampler what to do before a trial; here it has been done.
            self.study.sampler = optuna.samplers.RandomSampler()
            asked = optuna.trial.Trial(self.study, memory_id)
            self._under_way[frozen.number], self._reporting[frozen.number] = asked, entered or asked
            for progress in evaluations:  # those acknowledged that a kill kept from being reported
                step, value = self._reported(progress)
                if step not in frozen.intermediate_values:
                    self._reporting[frozen.number].report(value, step)
                    self.durable.report(frozen.number, step, value)
        return record

    def _worst(self) -> list[float] | None:
        """Return the worst values so far, where the sampler has to see some in place of an infeasible trial's."""
        from orchestrator.search.seen import worst_values

        return worst_values(self.study) if self.spec.search.sampler in BLIND_TO_INFEASIBLE else None

    def lacking(self, progress: Progress) -> str:
        """Say what an evaluation lacks of what `objective.cost` is known by; empty where it has it all."""
        cost = self.spec.objective.cost
        if cost is None or math.isfinite(progress.metrics.get(COSTS[cost], math.nan)):
            return ""
        return f"objective.cost: {cost}; the workload measures no {COSTS[cost]}"

    def _objectives(self, trial: TrialRecord) -> list[float] | None:
        """Return the values of a trial trained to its end: its quality, and its cost where that is an objective."""
        quality, cost = trial.value(self.metric), self.spec.objective.cost
        values = [quality] if cost is None else [quality, trial.cost(cost)]
        return [value for value in values if value is not None]

    def acknowledge(self, made: Sequence[tuple[TrialRecord, Progress]]) -> None:
        """Write down evaluations, the next one of each trial: from here on they are never trained again."""
        reported = [(trial.number, *self._reported(progress)) for trial, progress in made]
        self.ledger.record(
            self.spec.name,
            [(trial.number, progress) for trial, progress in made],
            owner=self.owner,
            beside=lambda connection: self.durable.report_all(connection, reported),
        )

    def take(self, trial: TrialRecord, progress: Progress) -> None:
        """Count an evaluation that is acknowledged, and let the pruner know of it."""
        # The names come anew with each evaluation, and would take more memory than the values.
        metrics = {sys.intern(name): value for name, value in progress.metrics.items()}
        trial.evaluations.append(replace(progress, metrics=metrics))
        self._seconds[trial.number] = trial.training_seconds / len(trial.evaluations)
        step, value = self._reported(progress)
        self._reporting[trial.number].report(value, step)

    def _reported(self, progress: Progress) -> tuple[int, float]:
        """Return what a pruner is told of an evaluation: a step, which for a resource begins at 1, and a value."""
        return progress.evaluation + 1, progress.metrics[self.metric]

    def repoint(self, trial: TrialRecord, progress: Progress) -> None:
        """Take the checkpoint of an evaluation that was acknowledged before and had to be trained again."""
        self.ledger.repoint(self.spec.name, trial.number, progress, owner=self.owner)
        known = trial.evaluations[progress.evaluation]
        trial.evaluations[progress.evaluation] = replace(known, checkpoint=progress.checkpoint)

    def why_prune(self, trial: TrialRecord) -> str:
        """Ask the pruner whether the trial's latest evaluation is worth going on from; say why not, empty where it is.

        The reason is what the pruner compared, at the moment at which it did.
        """
        latest = len(trial.evaluations) - 1
        judged, why = self._judged.get(trial.number, (None, ""))
        if judged == latest:
            return why
        asked = self._reporting[trial.number]
        reached = f"{len(trial.evaluations)} of {self.spec.budget.evaluations} evaluations"
        with quietly():
            why = (verdict(asked, reached=reached) or f"{UNPROMISING} after {reached}") if asked.should_prune() else ""
        # Together with what the pruner notes: asked again after a kill, successive halving would say otherwise.
        notes = {PRUNED_BECAUSE: why, PRUNED_AT: latest} if why else {}
        self.durable.note(trial.number, notes, kept=self._new_attributes(trial.number))
        return why

    def pause(self, trial: TrialRecord) -> None:
        """Note that a trial waits to be promoted. To Optuna it is under way; samplers see it as one that was pruned."""
        trial.state = TrialState.PAUSED
        self._memory.paused.add(trial.number)
        self._note(trial, PAUSED_AT, len(trial.evaluations))

    def go_on(self, trial: TrialRecord) -> None:
        """Note that a paused trial is under way again."""
        trial.state = TrialState.RUNNING
        self._memory.paused.discard(trial.number)
        self._note(trial, PAUSED_AT, 0)

    def pin(self, trial: TrialRecord) -> None:
        """Note that a trial is to be trained to its end."""
        trial.pinned = True
        self._note(trial, PINNED, True)

    def wishes_met(self) -> dict[int, int]:
        """Return the trials begun because the user wanted their settings, by the number of the wish."""
        trials = self.durable.trials()
        return {trial.user_attrs[WISH]: trial.number for trial in trials if WISH in trial.user_attrs}

    def _note(self, trial: TrialRecord, key: str, value: Any) -> None:
        self.durable.note(trial.number, {key: value})

    def tell(self, trial: TrialRecord, state: TrialState, reason: str = "", *, traceback: str = "") -> None:
        """End a trial, with the reason kept beside it."""
        reason, traceback = masked(reason), masked(traceback)
        own = "" if state is TrialState.COMPLETE else str(state)
        notes = {key: note for key, note in (("state", own), ("reason", reason), ("traceback", traceback)) if note}
        told, values = self._tell_samplers(trial, state)
        self._memory.paused.discard(trial.number)
        self._keep_study_attributes()
        # A kill before this leaves the trial under way, and it may end otherwise the next time.
        self.durable.end(trial.number, told, values, notes=notes, kept=self._new_attributes(trial.number))
        for known in (self._under_way, self._reporting, self._attributes):
            del known[trial.number]
        trial.state, trial.reason, trial.ended = state, reason, time.time()

    def _tell_samplers(
        self, trial: TrialRecord, state: TrialState
    ) -> tuple[optuna.trial.TrialState, Sequence[float] | None]:
        """End a trial in memory; return the state and the values that the database is to have."""
        import optuna

        from orchestrator.search.seen import VERDICT

        asked = self._under_way[trial.number]
        worst = self._worst() if state in INFEASIBLE else None
        if state in INFEASIBLE and worst is None:
            asked.set_constraint(VERDICT, 1.0)
        told = {
            TrialState.COMPLETE: optuna.trial.TrialState.COMPLETE,
            TrialState.FAILED: optuna.trial.TrialState.FAIL,
        }.get(state, optuna.trial.TrialState.PRUNED)
        values = self._objectives(trial) if state is TrialState.COMPLETE else None
        with quietly():
            if self._first is not None:
                self._first.tell(self._reporting[trial.number], values, state=told)
            if worst is None:
                return told, self.study.tell(asked, values, state=told).values
            self.study.tell(asked, worst)
            return told, None

    def _new_attributes(self, number: int) -> dict[str, Any]:
        """Return what a sampler or pruner noted on a trial since this was asked last; successive halving its rungs."""
        known = self._attributes[number]
        noted: dict[str, Any] = {}
        for trial in (self._under_way[number], self._reporting[number]):
            noted |= trial.storage.get_trial_system_attrs(trial._trial_id)
        new = {key: value for key, value in noted.items() if key not in known or known[key] != value}
        known |= new
        return new

    def _keep_study_attributes(self) -> None:
        known = self._study_attributes
        for key, value in self._memory.get_study_system_attrs(self._memory_study).items():
            if key not in known or known[key] != value:
                self.durable.keep_for_study(key, value)
                known[key] = value
