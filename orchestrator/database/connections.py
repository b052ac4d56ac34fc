"""What the sweeps' databases have to be told, each in its own way: SQLite to be shared, all of them what time it is."""

from __future__ import annotations

import contextlib
from typing import Any
from weakref import WeakSet

from sqlalchemy import Float, event, make_url
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.functions import FunctionElement


class database_time(FunctionElement[float]):  # noqa: N801 - a function of SQL
    """Seconds since the epoch by the database's own clock: those of the machines that use it differ."""

    type = Float()
    inherit_cache = True


@compiles(database_time, "sqlite")
def _time_of_sqlite(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(database_time, "postgresql")
def _time_of_postgresql(*_: Any, **__: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


@compiles(database_time, "mysql")
@compiles(database_time, "mariadb")
def _time_of_mysql(*_: Any, **__: Any) -> str:
    return "unix_timestamp(now(6))"


def engine_options(url: str) -> dict[str, Any]:
    """Return how SQLAlchemy is to connect to a database, so that a network that is cut is noticed within a minute."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return {}
    # A server that was restarted has closed the connections that are kept open here.
    options: dict[str, Any] = {"pool_pre_ping": True}
    if parsed.get_driver_name() in ("psycopg", "psycopg2"):
        options["connect_args"] = {
            "connect_timeout": 10,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 4,
            "tcp_user_timeout": 30_000,
        }
    return options


def tune_connections() -> None:
    """Set up every connection that SQLAlchemy opens in this process from now on.

    SQLite's write-ahead logging lets others read while the driver writes, and spares a wait for the disk at each
    commit. A killed process loses nothing that way; a machine that loses power may lose the last commits, never the
    database. PostgreSQL is to break off the transaction of a process that sleeps within it, whose locks would keep a
    sweep from those who take it over.
    """
    if not event.contains(Engine, "connect", _set_up):
        event.listen(Engine, "connect", _set_up)


def close_all() -> None:
    """Close every connection that is set up here, for a process that ends.

    What SQLite wrote ahead is then in the database itself, which can be copied as one file.
    """
    for entry in list(_OPEN):
        with contextlib.suppress(SQLAlchemyError):
            entry.close()


_OPEN: WeakSet[ConnectionPoolEntry] = WeakSet()


def _set_up(connection: Any, entry: ConnectionPoolEntry) -> None:
    _OPEN.add(entry)
    statements = SET_UP.get(type(connection).__module__.partition(".")[0], ())
    if not statements:
        return
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    cursor.close()
    connection.commit()


IDLE_IN_TRANSACTION = ("SET idle_in_transaction_session_timeout = '30s'",)
SET_UP = {
    "sqlite3": ("PRAGMA busy_timeout=30000", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL"),
    "psycopg": IDLE_IN_TRANSACTION,
    "psycopg2": IDLE_IN_TRANSACTION,
}
"""What each connection is told first, by the package that opens it."""
