"""SQLite as an embedded database that several processes read while one writes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine


def tune_sqlite() -> None:
    """Set up every SQLite connection that SQLAlchemy opens in this process from now on.

    Write-ahead logging lets others read while the driver writes, and spares a wait for the disk at each commit.
    A killed process loses nothing that way; a machine that loses power may lose the last commits, never the
    database.
    """
    if not event.contains(Engine, "connect", _set_pragmas):
        event.listen(Engine, "connect", _set_pragmas)


def _set_pragmas(connection: Any, _record: Any) -> None:
    if type(connection).__module__.partition(".")[0] != "sqlite3":
        return
    cursor = connection.cursor()
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=NORMAL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
