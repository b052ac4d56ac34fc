"""Optuna's tables, written and read in bulk: as its storage would, in a tenth of the time.

Everything is written within a transaction of the caller's, who alone writes the study.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, insert, inspect, select, update
from sqlalchemy.engine import Connection

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, TrialState


Notes = tuple[int, Mapping[str, Any], Mapping[str, Any]]
"""A trial's id, with attributes of the user's and of the system's."""
End = tuple[int, "TrialState", Sequence[float] | None]
"""A trial's id, with its state and its values."""


def enter_trials(connection: Connection, study: int, trials: Sequence[FrozenTrial]) -> dict[int, int]:
    """Enter trials that have just begun, under their numbers; return their ids by number."""
    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb.models import TrialModel, TrialParamModel

    entered = [
        # Optuna's model knows how a time is stored; the statement need not.
        {"study_id": study, "number": trial.number, "state": trial.state, "datetime_start": began._datetime_start_utc}
        for trial in trials
        if (began := TrialModel(datetime_start=trial.datetime_start))
    ]
    table = TrialModel.__table__
    connection.execute(insert(table), entered)
    numbers = [trial.number for trial in trials]
    query = select(table.c.number, table.c.trial_id).where(table.c.study_id == study, table.c.number.in_(numbers))
    ids = {number: int(known) for number, known in connection.execute(query)}
    params = [
        {
            "trial_id": ids[trial.number],
            "param_name": name,
            "param_value": trial.distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(trial.distributions[name]),
        }
        for trial in trials
        for name, value in trial.params.items()
    ]
    if params:
        connection.execute(insert(TrialParamModel), params)
    put_notes(connection, [(ids[each.number], each.user_attrs, each.system_attrs) for each in trials], are_new=True)
    return ids


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


def put_notes(connection: Connection, noted: Sequence[Notes], *, are_new: bool = False) -> None:
    """Write attributes of trials over those of the same names, the later ones over the earlier."""
    from optuna.storages._rdb.models import TrialSystemAttributeModel, TrialUserAttributeModel

    of_user = {(trial, key): value for trial, notes, _ in noted for key, value in notes.items()}
    of_system = {(trial, key): value for trial, _, kept in noted for key, value in kept.items()}
    models: tuple[tuple[Any, dict[tuple[int, str], Any]], ...]
    models = (TrialUserAttributeModel, of_user), (TrialSystemAttributeModel, of_system)
    for model, latest in models:
        if not latest:
            continue
        if not are_new:
            same = (model.trial_id == bindparam("trial"), model.key == bindparam("name"))
            connection.execute(
                delete(model.__table__).where(*same), [{"trial": trial, "name": key} for trial, key in latest]
            )
        written = [
            {"trial_id": trial, "key": key, "value_json": json.dumps(value)} for (trial, key), value in latest.items()
        ]
        connection.execute(insert(model), written)


def end_trials(connection: Connection, ended: Sequence[End]) -> None:
    """End trials that have no values yet, now."""
    from optuna.storages._rdb.models import TrialModel, TrialValueModel

    stored = [
        (trial, index, *TrialValueModel.value_to_stored_repr(value))
        for trial, _, values in ended
        for index, value in enumerate(values or ())
    ]
    names = ("trial_id", "objective", "value", "value_type")
    if stored:
        connection.execute(insert(TrialValueModel), [dict(zip(names, row, strict=True)) for row in stored])
    now = TrialModel(datetime_complete=datetime.now())._datetime_complete_utc
    table = TrialModel.__table__
    change = update(table).where(table.c.trial_id == bindparam("trial"))
    change = change.values(state=bindparam("how"), datetime_complete=now)
    connection.execute(change, [{"trial": trial, "how": state} for trial, state, _ in ended])


def read_trials(connection: Connection, study: int, *, with_values: bool = True) -> list[FrozenTrial]:
    """Return every trial, in the order in which they were entered; the values reported only `with_values`."""
    from optuna.storages._rdb import models

    trial = models.TrialModel.__table__.c
    found = _bare_trials(connection, study)

    def rows_of(model: Any, *columns: str, order: str) -> Any:
        table = model.__table__.c
        query = select(table.trial_id, *(table[name] for name in columns)).join_from(
            model.__table__, trial.trial_id.table
        )
        return connection.execute(query.where(trial.study_id == study).order_by(table[order])).all()

    for known, name, value, distribution in rows_of(
        models.TrialParamModel, "param_name", "param_value", "distribution_json", order="param_id"
    ):
        found[known].distributions[name] = read = distribution_of(distribution)
        found[known].params[name] = read.to_external_repr(value)
    for known, value, kind in rows_of(models.TrialValueModel, "value", "value_type", order="objective"):
        before = found[known].values or []
        found[known].values = [*before, models.TrialValueModel.stored_repr_to_value(value, kind)]
    for known, key, value in rows_of(models.TrialUserAttributeModel, "key", "value_json", order="trial_id"):
        found[known].user_attrs[key] = json.loads(value)
    for known, key, value in rows_of(models.TrialSystemAttributeModel, "key", "value_json", order="trial_id"):
        found[known].system_attrs[key] = json.loads(value)
    if with_values:
        model = models.TrialIntermediateValueModel
        names = ("step", "intermediate_value", "intermediate_value_type")
        for known, step, value, kind in rows_of(model, *names, order="trial_intermediate_value_id"):
            found[known].intermediate_values[step] = model.stored_repr_to_intermediate_value(value, kind)
    return list(found.values())


def _bare_trials(connection: Connection, study: int) -> dict[int, FrozenTrial]:
    """Return every trial by its id, as far as its own row says."""
    from optuna.storages._rdb.models import TrialModel
    from optuna.trial import FrozenTrial

    trial, clock = TrialModel.__table__.c, TrialModel()
    columns = (trial.trial_id, trial.number, trial.state, trial.datetime_start, trial.datetime_complete)
    found = {}
    for known, number, state, *times in connection.execute(
        select(*columns).where(trial.study_id == study).order_by(trial.trial_id)
    ):
        clock._datetime_start_utc, clock._datetime_complete_utc = times
        kept: dict[str, Any] = {name: {} for name in ("params", "distributions", "user_attrs", "system_attrs")}
        found[known] = FrozenTrial(
            number=number,
            state=state,
            value=None,
            datetime_start=clock.datetime_start,
            datetime_complete=clock.datetime_complete,
            intermediate_values={},
            trial_id=known,
            **kept,
        )
    return found


@lru_cache(maxsize=1024)
def distribution_of(written: str) -> BaseDistribution:
    """Return a distribution as Optuna writes it; few are written very often."""
    from optuna.distributions import json_to_distribution

    return json_to_distribution(written)


def find_study(connection: Connection, name: str) -> int | None:
    """Return the id of a study; None where there is none, or no table of studies yet."""
    from optuna.storages._rdb.models import StudyModel

    if not inspect(connection).has_table(StudyModel.__tablename__):
        return None
    found: int | None = connection.execute(select(StudyModel.study_id).where(StudyModel.study_name == name)).scalar()
    return found


def has_trials(connection: Connection, name: str) -> bool:
    """Tell whether the study of that name has any trial."""
    from optuna.storages._rdb.models import TrialModel

    study = find_study(connection, name)
    query = select(TrialModel.trial_id).where(TrialModel.study_id == study).limit(1)
    return study is not None and connection.execute(query).first() is not None
