"""The Optuna study in the sweeps' database: written by the driver that holds the lease alone, and read when a sweep is
taken up.

A transaction ends only while the driver holds the sweep: one that slept through its lease writes nothing when it
wakes. A database that is away is waited for; what may have been written before the connection broke is not written
twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import event, select
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from orchestrator.database import rows
from orchestrator.database.connections import engine_options
from orchestrator.database.ledger import TAKEN_OVER, sweeps
from orchestrator.database.patience import patiently
from orchestrator.database.writes import Writes
from orchestrator.errors import LeaseLost

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, TrialState

Direction = Literal["minimize", "maximize"]
NOTHING: Mapping[str, Any] = MappingProxyType({})


class DurableStudy:
    """One sweep's trials in the database, by their numbers; its study is entered there if it is new.

    What happens in a sweep by the thousand is written here in Optuna's tables, in as few statements as it takes;
    Optuna's own way reads a trial anew for each value, and counts all trials for each that is entered.
    """

    def __init__(self, writes: Writes, *, directions: Sequence[Direction]) -> None:
        self.writes, name = writes, writes.name
        self.storage = open_storage(writes.ledger.url)
        fence(self.storage.engine, name, writes.owner)  # before anything is written
        enter_study(self.storage, name, directions=directions)
        self._id = self.storage.get_study_id_from_name(name)
        self._trials: dict[int, int] = {}  # ids of those under way

    def trials(self) -> list[FrozenTrial]:
        """Return every trial, in the order of their numbers; those under way can be written from then on."""
        read = self.writes.ledger.read(lambda connection: rows.read_trials(connection, self._id))
        found = sorted(read, key=lambda trial: trial.number)
        self._trials |= {trial.number: trial._trial_id for trial in found if not trial.state.is_finished()}
        return found

    def attributes(self) -> dict[str, Any]:
        """Return what samplers and pruners noted on the study."""
        return dict(patiently(lambda: self.storage.get_study_system_attrs(self._id)))

    def create(self, trial: FrozenTrial) -> None:
        """Enter a trial whole."""

        def is_there(connection: Connection) -> bool:
            return rows.find_trial(connection, self._id, trial.number) is not None

        self.writes.put(self._enter, trial, is_there=is_there, first=True)

    def _enter(self, connection: Connection, trials: list[FrozenTrial]) -> None:
        self._trials |= rows.enter_trials(connection, self._id, trials)

    def report(self, number: int, step: int, value: float) -> None:
        """Report a trial's value at a step of the pruner's."""
        patiently(lambda: self.storage.set_trial_intermediate_value(self._trials[number], step, value))

    def report_all(self, connection: Connection, reported: Sequence[tuple[int, int, float]]) -> None:
        """Report new values, each with its trial's number and its step, within a transaction of the caller's."""
        rows.enter_values(connection, [(self._trials[number], step, value) for number, step, value in reported])

    def note(self, number: int, notes: Mapping[str, Any], *, kept: Mapping[str, Any] = NOTHING) -> None:
        """Note things on a trial, for people and for this driver's successors; `kept` is from samplers or pruners."""
        if notes or kept:
            self.writes.put(self._note, (number, notes, kept))

    def _note(self, connection: Connection, noted: list[rows.Notes]) -> None:
        rows.put_notes(connection, [(self._trials[number], notes, kept) for number, notes, kept in noted])

    def keep_for_study(self, key: str, value: Any) -> None:
        """Keep what a sampler noted on the study."""
        patiently(lambda: self.storage.set_study_system_attr(self._id, key, value))

    def describe(self, key: str, value: Any) -> None:
        """Note something on the study, for people."""
        patiently(lambda: self.storage.set_study_user_attr(self._id, key, value))

    def end(
        self,
        number: int,
        state: TrialState,
        values: Sequence[float] | None,
        *,
        notes: Mapping[str, Any] = NOTHING,
        kept: Mapping[str, Any] = NOTHING,
    ) -> None:
        """End a trial, with what is to be noted on it."""

        def has_ended(connection: Connection) -> bool:
            return rows.has_ended(connection, self._trials[number])

        with self.writes.together():
            self.note(number, notes, kept=kept)
            self.writes.put(self._end, (number, state, values), is_there=has_ended)
        self.writes.after(lambda: self._trials.pop(number))

    def _end(self, connection: Connection, ended: list[rows.End]) -> None:
        rows.end_trials(connection, [(self._trials[number], state, values) for number, state, values in ended])


def enter_study(storage: RDBStorage, name: str, *, directions: Sequence[Direction]) -> None:
    """Enter a study, or recognise it; one that has no trials yet is made anew where its objectives were changed."""
    import optuna

    study = optuna.create_study(study_name=name, storage=storage, directions=directions, load_if_exists=True)
    if [direction.name.lower() for direction in study.directions] != list(directions) and not study.trials:
        optuna.delete_study(study_name=name, storage=storage)
        optuna.create_study(study_name=name, storage=storage, directions=directions)


def fence(engine: Engine, name: str, owner: str) -> None:
    """Let transactions end only while `owner` holds the sweep; LeaseLost comes out of those that may not."""
    # Where several write at once, a share of the row's lock keeps others from taking the sweep before the end.
    holder = select(sweeps.c.owner).where(sweeps.c.name == name).with_for_update(read=True)

    def check(connection: Connection) -> None:
        if connection.execute(holder).scalar() != owner:
            raise LeaseLost(TAKEN_OVER.format(name))

    event.listen(engine, "commit", check)


def open_storage(url: str) -> RDBStorage:
    """Return Optuna's storage on the sweeps' database."""
    from optuna.storages import RDBStorage

    try:
        return RDBStorage(url, engine_kwargs=engine_options(url))
    except (IntegrityError, OperationalError, ProgrammingError):
        # Another process was making the tables of a new database at the same moment; by now it has.
        time.sleep(1.0)
        return RDBStorage(url, engine_kwargs=engine_options(url))
