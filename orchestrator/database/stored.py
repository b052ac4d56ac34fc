"""A sweep's trials as the database has them, for whoever only looks: nothing is written here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.engine import Connection

from orchestrator.database import rows
from orchestrator.database.durable import open_storage
from orchestrator.database.ledger import Ledger
from orchestrator.errors import SweepNotFound
from orchestrator.spec import SweepSpec, stored_spec
from orchestrator.trial import TrialRecord, TrialState

if TYPE_CHECKING:
    from typing import Any

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from workloads.protocol import Progress

ENVIRONMENT = "environment"
"""What the sweep's driver ran last with: versions, the CPUs of each trial, and the checkpoints it was to keep."""
PAUSED_AT = "paused_at"
"""The evaluations that a trial had when it was paused, for those who look; 0 when it went on."""
PINNED = "pinned"


def record_of(spec: SweepSpec, frozen: FrozenTrial, evaluations: list[Progress]) -> TrialRecord:
    """Return what is known of a trial as it stands in the database; changes nothing."""
    chosen = dict(frozen.params)
    started = frozen.datetime_start.timestamp() if frozen.datetime_start else 0.0
    record = TrialRecord(frozen.number, chosen, spec.params(chosen), started, list(evaluations))
    record.pinned = bool(frozen.user_attrs.get(PINNED))
    if not frozen.state.is_finished() and evaluations and frozen.user_attrs.get(PAUSED_AT) == len(evaluations):
        record.state = TrialState.PAUSED
    if frozen.state.is_finished():
        record.ended = frozen.datetime_complete.timestamp() if frozen.datetime_complete else None
        record.state = _STATES[frozen.state.name]
        if record.state is not TrialState.COMPLETE:
            record.state = TrialState(frozen.user_attrs.get("state") or record.state)
            record.reason = str(frozen.user_attrs.get("reason", ""))
    return record


_STATES = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAIL": TrialState.FAILED}


def read_sweep(ledger: Ledger, name: str) -> tuple[SweepSpec, list[TrialRecord]]:
    """Return the spec and all trials of a sweep, as someone who only looks; SweepNotFound where there is none."""
    spec = stored_spec(ledger.sweep(name).spec)
    try:
        # What was reported is in the evaluations, which are read last: none of an ended trial may be missing.
        trials = stored_trials(ledger, name, with_values=False)
    except SweepNotFound:
        return spec, []
    recorded = ledger.evaluations(name)
    return spec, [record_of(spec, frozen, recorded.get(frozen.number, [])) for frozen in trials]


def has_trials(ledger: Ledger, name: str) -> bool:
    """Tell whether a sweep has begun any trial."""
    return ledger.read(lambda connection: rows.has_trials(connection, name))


def stored_trials(ledger: Ledger, name: str, *, with_values: bool = True) -> list[FrozenTrial]:
    """Return the trials as Optuna keeps them, values reported `with_values`; SweepNotFound where there is no study."""

    def read(connection: Connection) -> list[FrozenTrial] | None:
        study = rows.find_study(connection, name)
        return None if study is None else rows.read_trials(connection, study, with_values=with_values)

    found = ledger.read(read)
    if found is None:
        raise SweepNotFound(f"{name} has no trials yet")
    return found


def environment_of(ledger: Ledger, name: str) -> dict[str, Any]:
    """Return what the sweep's driver ran last with; empty where none got that far."""
    try:
        return dict(load_study(ledger, name).user_attrs.get(ENVIRONMENT, {}))
    except SweepNotFound:
        return {}


def load_study(ledger: Ledger, name: str) -> Study:
    """Return the Optuna study behind a sweep; SweepNotFound where there is none."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        return optuna.load_study(study_name=name, storage=open_storage(ledger.url))
    except KeyError as error:
        raise SweepNotFound(f"{name} has no trials yet") from error
