"""The Optuna study in the sweeps' database: written by the driver that holds the lease alone, and read when a sweep is
taken up.

Each write is one transaction that ends only while the driver holds the sweep: one that slept through its lease
writes nothing when it wakes. A database that is away is waited for; what may have been written before the connection
broke is not written twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import event, select
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from orchestrator import rows
from orchestrator.databases import engine_options
from orchestrator.errors import LeaseLost
from orchestrator.ledger import TAKEN_OVER, Ledger, sweeps
from orchestrator.patience import patiently

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

    def __init__(self, ledger: Ledger, name: str, owner: str, *, directions: Sequence[Direction]) -> None:
        self.ledger, self.name, self.owner = ledger, name, owner
        self.storage = open_storage(ledger.url)
        fence(self.storage.engine, name, owner)  # before anything is written
        enter_study(self.storage, name, directions=directions)
        self._id = self.storage.get_study_id_from_name(name)
        self._trials: dict[int, int] = {}  # ids of those under way

    def trials(self) -> list[FrozenTrial]:
        """Return every trial, in the order of their numbers; those under way can be written from then on."""
        read = patiently(lambda: self.storage.get_all_trials(self._id, deepcopy=False))
        found = sorted(read, key=lambda trial: trial.number)
        self._trials |= {trial.number: trial._trial_id for trial in found if not trial.state.is_finished()}
        return found

    def attributes(self) -> dict[str, Any]:
        """Return what samplers and pruners noted on the study."""
        return dict(patiently(lambda: self.storage.get_study_system_attrs(self._id)))

    @contextmanager
    def _written(self) -> Iterator[Session]:
        """Open a transaction on Optuna's tables; LeaseLost where another driver holds the sweep."""
        with self.ledger.held(self.name, self.owner) as connection, Session(connection) as session:
            yield session
            session.flush()

    def create(self, trial: FrozenTrial) -> None:
        """Enter a trial whole."""

        def enter() -> int:
            with self._written() as session:
                return rows.enter_trial(session, self._id, trial)

        def enter_unless_there() -> int:
            found = self.ledger.read(lambda connection: rows.find_trial(connection, self._id, trial.number))
            return enter() if found is None else found

        self._trials[trial.number] = patiently(enter, again=enter_unless_there)

    def report(self, number: int, step: int, value: float) -> None:
        """Report a trial's value at a step of the pruner's."""
        patiently(lambda: self.storage.set_trial_intermediate_value(self._trials[number], step, value))

    def report_all(self, connection: Connection, reported: Sequence[tuple[int, int, float]]) -> None:
        """Report values that are new, each with its trial's number and its step, within a transaction of the caller's."""
        rows.enter_values(connection, [(self._trials[number], step, value) for number, step, value in reported])

    def note(self, number: int, notes: Mapping[str, Any], *, kept: Mapping[str, Any] = NOTHING) -> None:
        """Note things on a trial for people and for this driver's successors; `kept` is what samplers or pruners noted."""
        if not notes and not kept:
            return

        def write() -> None:
            with self._written() as session:
                rows.put_notes(session, self._trials[number], notes=notes, kept=kept)

        patiently(write)

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
        trial = self._trials[number]

        def tell() -> None:
            with self._written() as session:
                rows.put_notes(session, trial, notes=notes, kept=kept)
                rows.end_trial(session, trial, state, values)

        def tell_unless_told() -> None:
            if not self.storage.get_trial(trial).state.is_finished():
                tell()

        patiently(tell, again=tell_unless_told)
        del self._trials[number]


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
