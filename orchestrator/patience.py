"""Waiting for a database that is away: restarted, failed over, out of room, or behind a broken link."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError

from orchestrator.errors import Unreachable
from orchestrator.outage import Outage, sit_out

Result = TypeVar("Result")

PATIENCE_S = 600.0
"""How long a driver waits for the sweeps' database. Who held the sweep before holds it then, unless another took it."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


def is_away(error: BaseException) -> bool:
    """Tell whether a database gave no answer, rather than one that was not wanted."""
    # Optuna raises errors of its own from SQLAlchemy's.
    fault = error if isinstance(error, OperationalError | InterfaceError) else error.__cause__
    return isinstance(fault, OperationalError | InterfaceError) and "no such" not in str(fault.orig)


def patiently(work: Callable[[], Result], *, again: Callable[[], Result] | None = None) -> Result:
    """Return what `work` returns, tried anew for as long as the database is away.

    Where a connection breaks before the answer, it is unknown whether the transaction was committed: `again` is called
    in place of work that would do harm twice. Raises Unreachable where the database stays away for PATIENCE_S.
    """
    words = "the sweeps' database is away"
    away = Outage(
        words=words,
        passes=is_away,
        patience_s=PATIENCE_S,
        pauses_s=(FIRST_PAUSE_S, LONGEST_PAUSE_S),
        give_up=lambda waited_s, why: Unreachable(f"{words} for {waited_s:.0f} s: {why}; nothing is lost"),
    )
    return sit_out(away, work, again=again)
