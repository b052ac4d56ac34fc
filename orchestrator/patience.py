"""Waiting for a database that is away: restarted, failed over, out of room, or behind a broken link."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError

from orchestrator.errors import BpttError, presentable

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
    in place of work that would do harm twice. Raises BpttError where the database stays away for PATIENCE_S.
    """
    began, pause = time.monotonic(), FIRST_PAUSE_S
    while True:
        try:
            return work()
        except Exception as error:
            if not is_away(error):
                raise
            waited = time.monotonic() - began
            why = presentable(str(error.__cause__ or error))[:200]
            if waited > PATIENCE_S:
                raise BpttError(f"the sweeps' database is away for {waited:.0f} s: {why}; nothing is lost") from error
            if pause == FIRST_PAUSE_S:
                # Not by logging: what Optuna brings along to change its tables switches off the loggers there are.
                sys.stderr.write(f"bptt: the sweeps' database is away; waiting for it: {why}\n")
        time.sleep(pause)
        work, pause = again or work, min(2 * pause, LONGEST_PAUSE_S)
