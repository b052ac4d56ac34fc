"""Tables beside Optuna's in the sweeps' database: sweeps, drivers, evaluations acknowledged, who trained what, wishes.

Optuna keeps trials, parameters and the reported values. What it has no place for is here: the spec, the lease of the
driver, and the whole Progress of each evaluation, so that a sweep can be taken up from the database alone.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    func,
    make_url,
    select,
)
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.schema import CreateTable

from orchestrator.database.connections import database_time, engine_options, tune_connections
from orchestrator.database.patience import patiently
from orchestrator.database.processes import is_gone
from orchestrator.errors import LeaseLost, SpecChanged, SweepNotFound, Unreachable, UserError
from orchestrator.secrets import password_of
from workloads.protocol import Progress

Answer = TypeVar("Answer")

TAKEN_OVER = "another driver has taken {} over; this one stops and writes nothing more"

AT_SIGN = "the database cannot be opened; an @ in its password is written %40, a / %2F, a : %3A"

metadata = MetaData()

sweeps = Table(
    "bptt_sweep",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("spec", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("state", String(20), nullable=False),
    Column("message", Text, nullable=False, default=""),
    Column("owner", String(200)),
    Column("expires", Float, nullable=False, default=0.0),
    Column("elapsed_s", Float, nullable=False, default=0.0),
    Column("stop_requested", Integer, nullable=False, default=0),
    Column("dataset", Text, nullable=False, default="{}"),
    Column("model", Text),
)

evaluations = Table(
    "bptt_evaluation",
    metadata,
    Column("sweep", String(63), primary_key=True),
    Column("trial", Integer, primary_key=True),
    Column("evaluation", Integer, primary_key=True),
    Column("sequence_steps", BigInteger, nullable=False),
    Column("metrics", Text, nullable=False),
    Column("checkpoint", Text, nullable=False),
    Column("time", Float, nullable=False),
)

drivers = Table(
    "bptt_driver",
    metadata,
    Column("sweep", String(63), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("host", String(200), nullable=False),
    Column("address", Text, nullable=False, default=""),
    Column("job", String(200), nullable=False, default=""),
    Column("since", Float, nullable=False),
)


@dataclass(frozen=True, slots=True)
class DriverRow:
    """Who drives a sweep, or drove it last."""

    sweep: str
    owner: str
    host: str
    address: str
    """Of the cluster's Jobs server, as whoever submitted it knows it; empty where no job drives the sweep."""
    job: str
    since: float


wishes = Table(
    "bptt_wish",
    metadata,
    Column("sweep", String(63), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(20), nullable=False),
    Column("content", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("state", String(20), nullable=False),
    Column("answer", Text, nullable=False, default=""),
)


stints = Table(
    "bptt_stint",
    metadata,
    Column("sweep", String(63), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("trial", Integer, nullable=False),
    Column("worker", String(200), nullable=False),
    Column("owner", String(200), nullable=False),
    Column("began", Float, nullable=False),
    Column("ended", Float),
    Column("how", String(20), nullable=False, default=""),
)


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One sweep as the database knows it."""

    name: str
    spec: Mapping[str, Any]
    created: float
    state: str
    """`running`, `finished`, `failed` or `interrupted`; a running sweep without a live lease is dead."""
    message: str
    owner: str | None
    expires: float
    """When the lease runs out, in seconds since the epoch by the database's clock."""
    left_s: float
    """Seconds until then, as the row was read; below 0 where it has run out."""
    elapsed_s: float
    """Seconds for which drivers have run it."""
    stop_requested: bool
    dataset: Mapping[str, Any]
    """Name, source, fingerprint and baselines of its data; empty before it was prepared."""
    model: str | None

    @property
    def is_driven(self) -> bool:
        """Tell whether a driver holds the sweep now."""
        return self.owner is not None and self.left_s > 0 and not is_gone(self.owner)


class Ledger:
    """The sweeps' database, less what Optuna keeps there."""

    def __init__(self, url: str, *, opening_s: float = 0.0, patience_s: float = 0.0) -> None:
        """Open it, and make its tables.

        A database that is away is waited for so many seconds, now and at each later question; Unreachable then.
        UserError where the URL is none that can be opened.
        """
        self.url, self.patience_s = url, patience_s
        tune_connections()
        # What is said of an address may hold a part of a password that was cut at its @.
        is_cut = "@" in password_of(url)
        try:
            self.engine = open_database(url)
            patiently(self._make_tables, patience_s=0.0 if is_cut else opening_s)
        except (Unreachable, SQLAlchemyError, ImportError, OSError, ValueError) as error:
            if isinstance(error, Unreachable) and not is_cut:
                raise Unreachable(f"study_url: {url}: {error}") from error
            why = AT_SIGN if is_cut else " ".join(str(error).split())[:200]
            raise UserError(f"study_url: {url}: {why}") from error

    def _make_tables(self) -> None:
        # Another process may be making the same tables at this moment: PostgreSQL says so, SQLite does not.
        with contextlib.suppress(IntegrityError), self.engine.begin() as connection:
            for table in metadata.sorted_tables:
                connection.execute(CreateTable(table, if_not_exists=True))

    def read(self, question: Callable[[Connection], Answer]) -> Answer:
        """Return what a question to the database is answered; Unreachable where it is away for too long.

        A question of several queries sees the database as it was at the first, whatever a driver writes meanwhile.
        """

        def ask() -> Answer:
            with self.engine.connect() as connection:
                if connection.dialect.name == "sqlite":
                    connection.exec_driver_sql("BEGIN")  # SQLite's driver would begin none before something is written
                else:
                    connection.execution_options(isolation_level="REPEATABLE READ")
                return question(connection)

        return patiently(ask, patience_s=self.patience_s)

    def create(self, name: str, spec: Mapping[str, Any]) -> None:
        """Add a sweep; SpecChanged where another one has the name."""
        row = {"name": name, "spec": json.dumps(spec), "created": time.time(), "state": "running"}

        def write() -> None:
            with self.engine.begin() as connection:
                connection.execute(sweeps.insert().values(**row))

        def write_unless_there() -> None:
            if not any(other.name == name and other.created == row["created"] for other in self.all()):
                write()

        try:
            patiently(write, again=write_unless_there, patience_s=self.patience_s)
        except IntegrityError as error:
            raise SpecChanged(f"name: a sweep called {name} exists already") from error

    def sweep(self, name: str) -> SweepRow:
        """Return one sweep; SweepNotFound names those there are."""
        found = {row.name: row for row in self.all()}
        if name not in found:
            there = f"there are {', '.join(sorted(found))}" if found else "there are none yet; see `bptt run`"
            raise SweepNotFound(f"no sweep is called {name}; {there}")
        return found[name]

    def all(self) -> list[SweepRow]:
        """Return every sweep, the oldest first."""
        query = select(sweeps, (sweeps.c.expires - database_time()).label("left_s")).order_by(sweeps.c.created)
        rows = self.read(lambda connection: connection.execute(query).mappings().all())
        return [
            SweepRow(
                **{
                    **row,
                    "spec": json.loads(row["spec"]),
                    "dataset": json.loads(row["dataset"]),
                    "stop_requested": bool(row["stop_requested"]),
                }
            )
            for row in rows
        ]

    def update(self, name: str, *, held_by: str | None = None, **values: Any) -> None:
        """Set columns of one sweep; mappings are stored as JSON. LeaseLost where `held_by` does not own it."""
        plain = {key: json.dumps(value) if isinstance(value, Mapping) else value for key, value in values.items()}

        def write() -> None:
            with self.engine.begin() if held_by is None else self.held(name, held_by) as connection:
                connection.execute(sweeps.update().where(sweeps.c.name == name).values(**plain))

        patiently(write)

    def record(
        self,
        name: str,
        made: Sequence[tuple[int, Progress]],
        *,
        owner: str,
        beside: Callable[[Connection], object] | None = None,
    ) -> None:
        """Acknowledge evaluations, each with its trial, all or none; what is written `beside` them shares their fate.

        One transaction for all that came together: waiting for the disk at each would be most of a driver's work.
        LeaseLost, and nothing is written, where `owner` does not hold the sweep.
        """
        rows = [
            {
                "sweep": name,
                "trial": trial,
                "evaluation": progress.evaluation,
                "sequence_steps": progress.sequence_steps,
                "metrics": json.dumps(dict(progress.metrics)),
                "checkpoint": progress.checkpoint,
                "time": progress.time,
            }
            for trial, progress in made
        ]
        if not rows:
            return

        def write() -> None:
            with self.held(name, owner) as connection:
                connection.execute(evaluations.insert(), rows)
                if beside is not None:
                    beside(connection)

        def write_unless_there() -> None:
            trial, progress = made[0]  # all were committed, or none
            if self.checkpoint_of(name, trial, progress.evaluation) != progress.checkpoint:
                write()

        patiently(write, again=write_unless_there)

    def checkpoint_of(self, name: str, trial: int, evaluation: int) -> str | None:
        """Return the checkpoint of an acknowledged evaluation; None where there is no such evaluation."""
        query = select(evaluations.c.checkpoint).where(
            evaluations.c.sweep == name, evaluations.c.trial == trial, evaluations.c.evaluation == evaluation
        )
        found: str | None = self.read(lambda connection: connection.execute(query).scalar())
        return found

    def repoint(self, name: str, trial: int, progress: Progress, *, owner: str) -> None:
        """Give an acknowledged evaluation the checkpoint of `progress`, its own being lost; what was measured stays."""
        where = (
            (evaluations.c.sweep == name)
            & (evaluations.c.trial == trial)
            & (evaluations.c.evaluation == progress.evaluation)
        )

        def write() -> None:
            with self.held(name, owner) as connection:
                connection.execute(evaluations.update().where(where).values(checkpoint=progress.checkpoint))

        patiently(write)

    @contextlib.contextmanager
    def held(self, name: str, owner: str) -> Iterator[Connection]:
        """Open a transaction in which `owner` holds the sweep to the end; LeaseLost where it does not."""
        with self.engine.begin() as connection:
            # Touching the row locks it, so that no other driver takes the sweep over between look and write.
            mine = sweeps.update().where(sweeps.c.name == name, sweeps.c.owner == owner).values(owner=owner)
            if connection.execute(mine).rowcount != 1:
                raise LeaseLost(TAKEN_OVER.format(name))
            yield connection

    def enter_driver(self, driver: DriverRow) -> None:
        """Note who drives a sweep from now on; LeaseLost where it is not that one who holds it."""

        def write() -> None:
            with self.held(driver.sweep, driver.owner) as connection:
                connection.execute(drivers.delete().where(drivers.c.sweep == driver.sweep))
                connection.execute(drivers.insert().values(**asdict(driver)))

        patiently(write)

    def driver(self, name: str) -> DriverRow | None:
        """Return who drives a sweep, or drove it last; None where that was never noted."""
        query = select(drivers).where(drivers.c.sweep == name)
        row = self.read(lambda connection: connection.execute(query).mappings().first())
        return None if row is None else DriverRow(**row)

    def count_evaluations(self, name: str) -> int:
        """Return how many evaluations of a sweep are acknowledged."""
        query = select(func.count()).select_from(evaluations).where(evaluations.c.sweep == name)
        return int(self.read(lambda connection: connection.execute(query).scalar_one()))

    def evaluations(self, name: str) -> dict[int, list[Progress]]:
        """Return every acknowledged evaluation of a sweep, by trial, in order."""
        query = select(evaluations).where(evaluations.c.sweep == name)
        query = query.order_by(evaluations.c.trial, evaluations.c.evaluation)
        found: dict[int, list[Progress]] = {}
        for row in self.read(lambda connection: connection.execute(query).all()):
            metrics = {sys.intern(name): value for name, value in json.loads(row.metrics).items()}
            progress = Progress(row.evaluation, row.sequence_steps, metrics, row.checkpoint, row.time)
            found.setdefault(row.trial, []).append(progress)
        return found


def open_database(url: str) -> Engine:
    """Return an engine for the sweeps' database, making its folder; it is not connected to yet."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    return create_engine(parsed, **engine_options(url))
