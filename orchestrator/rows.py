"""Optuna's tables, written in bulk: what its storage reads afterwards is what it would have written itself.

Everything is written within a transaction of the caller's, who alone writes the study.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, TrialState


def enter_trial(connection: Connection, study: int, trial: FrozenTrial) -> int:
    """Enter a trial that has just begun, under its number; return its id."""
    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb.models import TrialModel, TrialParamModel

    # Optuna's model knows how a time is stored; the statement need not.
    began = TrialModel(datetime_start=trial.datetime_start)._datetime_start_utc
    row = {"study_id": study, "number": trial.number, "state": trial.state, "datetime_start": began}
    known = connection.execute(insert(TrialModel.__table__), row).inserted_primary_key
    if known is None:
        raise RuntimeError("the database gives no ids to new rows")
    params = [
        {
            "trial_id": known[0],
            "param_name": name,
            "param_value": trial.distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(trial.distributions[name]),
        }
        for name, value in trial.params.items()
    ]
    if params:
        connection.execute(insert(TrialParamModel), params)
    put_notes(connection, known[0], notes=trial.user_attrs, kept=trial.system_attrs, is_new=True)
    return int(known[0])


def find_trial(connection: Connection, study: int, number: int) -> int | None:
    """Return the id of the trial of that number; None where there is none."""
    from optuna.storages._rdb.models import TrialModel

    found: int | None = connection.execute(
        select(TrialModel.trial_id).where(TrialModel.study_id == study, TrialModel.number == number)
    ).scalar()
    return found


def has_ended(connection: Connection, trial: int) -> bool:
    """Tell whether a trial has a state that is final."""
    from optuna.storages._rdb.models import TrialModel

    state = connection.execute(select(TrialModel.state).where(TrialModel.trial_id == trial)).scalar_one()
    return bool(state.is_finished())


def enter_values(connection: Connection, reported: Sequence[tuple[int, int, float]]) -> None:
    """Enter values reported, each by a trial's id at a step that it has not reported before."""
    from optuna.storages._rdb.models import TrialIntermediateValueModel as Model

    stored = [(trial, step, *Model.intermediate_value_to_stored_repr(value)) for trial, step, value in reported]
    names = ("trial_id", "step", "intermediate_value", "intermediate_value_type")
    if stored:
        connection.execute(insert(Model), [dict(zip(names, row, strict=True)) for row in stored])


def put_notes(
    connection: Connection, trial: int, *, notes: Mapping[str, Any], kept: Mapping[str, Any], is_new: bool = False
) -> None:
    """Write a trial's attributes, the user's (`notes`) and the system's (`kept`), over those of the same names."""
    from optuna.storages._rdb.models import TrialSystemAttributeModel, TrialUserAttributeModel

    for model, given in ((TrialUserAttributeModel, notes), (TrialSystemAttributeModel, kept)):
        if not given:
            continue
        if not is_new:
            connection.execute(delete(model).where(model.trial_id == trial, model.key.in_(list(given))))
        written = [{"trial_id": trial, "key": key, "value_json": json.dumps(value)} for key, value in given.items()]
        connection.execute(insert(model), written)


def end_trial(connection: Connection, trial: int, state: TrialState, values: Sequence[float] | None) -> None:
    """End a trial that has no values yet, now."""
    from optuna.storages._rdb.models import TrialModel, TrialValueModel

    stored = [(trial, index, *TrialValueModel.value_to_stored_repr(value)) for index, value in enumerate(values or ())]
    names = ("trial_id", "objective", "value", "value_type")
    if stored:
        connection.execute(insert(TrialValueModel), [dict(zip(names, row, strict=True)) for row in stored])
    now = TrialModel(datetime_complete=datetime.now())._datetime_complete_utc
    table = TrialModel.__table__
    connection.execute(update(table).where(table.c.trial_id == trial).values(state=state, datetime_complete=now))
