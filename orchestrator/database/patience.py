"""Waiting for a database that is away: restarted, failed over, out of room, or behind a broken link."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError

from orchestrator.errors import Unreachable
from orchestrator.outage import Outage, sit_out

Result = TypeVar("Result")

PATIENCE_S = 600.0
"""How long a driver waits for the sweeps' database. Who held the sweep before holds it then, unless another took it."""
OPENING_S = 60.0
"""How long a driver that begins waits for it: longer, and its address is wrong rather than the database away."""
FOR_GOOD = ("no such", "does not exist", "unable to open", "authentication failed", "pg_hba.conf", "Access denied")
"""Words of a database that is there, and gives no other answer later."""
IDLE_IN_TRANSACTION = "25P03"
"""PostgreSQL's word for a transaction that it broke off, since the process was asleep in it."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


def is_away(error: BaseException) -> bool:
    """Tell whether a database gave no answer, rather than one that was not wanted."""
    # Optuna raises errors of its own from SQLAlchemy's.
    fault = error if isinstance(error, DBAPIError) else error.__cause__
    if isinstance(fault, InternalError):
        return getattr(fault.orig, "sqlstate", None) == IDLE_IN_TRANSACTION
    if not isinstance(fault, OperationalError | InterfaceError):
        return False
    return not any(words in str(fault.orig) for words in FOR_GOOD)


def patiently(
    work: Callable[[], Result], *, again: Callable[[], Result] | None = None, patience_s: float = PATIENCE_S
) -> Result:
    """Return what `work` returns, tried anew for as long as the database is away.

    Where a connection breaks before the answer, it is unknown whether the transaction was committed: `again` is called
    in place of work that would do harm twice. Raises Unreachable where the database stays away for `patience_s`.
    """
    words = "the sweeps' database is away"
    away = Outage(
        words=words,
        passes=is_away,
        patience_s=patience_s,
        pauses_s=(FIRST_PAUSE_S, LONGEST_PAUSE_S),
        give_up=lambda waited_s, why: Unreachable(
            f"{words}{f' for {waited_s:.0f} s' if patience_s else ''}: {why}; nothing is lost"
        ),
    )
    return sit_out(away, work, again=again)
