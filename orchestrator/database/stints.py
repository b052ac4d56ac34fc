"""Who trained which trial when: noted by the driver as trials come to workers and leave them.

A stint is one stretch of a trial on one worker. What a driver that was killed left open has no end of its own.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.engine import Connection

from orchestrator.database.ledger import Ledger, stints
from orchestrator.database.writes import Writes


@dataclass(frozen=True, slots=True)
class Stint:
    """One stretch of training."""

    trial: int
    worker: str
    """As `host/place`."""
    owner: str
    """The driver."""
    began: float
    """Seconds since the epoch, as `ended`."""
    ended: float | None
    how: str
    """The trial's state from then on, or `lost`, `moved`, `rewound` (a checkpoint was gone), `stopped`."""


class Stints:
    """Writes the stints of one sweep; LeaseLost where another driver holds it."""

    def __init__(self, writes: Writes) -> None:
        self._writes, self._sweep, self._owner = writes, writes.name, writes.owner
        self._open: dict[int, int] = {}
        self.latest: dict[str, Stint] = {}
        """The latest of each worker under this driver, for whoever shows the sweep while it is driven."""
        latest = select(func.max(stints.c.number)).where(stints.c.sweep == self._sweep)
        known = writes.ledger.read(lambda connection: connection.execute(latest).scalar())
        self._next = 0 if known is None else int(known) + 1

    def begin(self, trial: int, worker: str) -> None:
        """Note that a worker trains a trial from now on."""
        number, self._next = self._next, self._next + 1
        self._open[trial] = number
        stint = Stint(trial, worker[:200], self._owner, began=time.time(), ended=None, how="")
        self.latest[stint.worker] = stint
        row = {key: value for key, value in asdict(stint).items() if key != "ended"}
        there = select(stints.c.number).where(stints.c.sweep == self._sweep, stints.c.number == number)
        self._writes.put(
            insert_stints,
            {"sweep": self._sweep, "number": number, **row},
            is_there=lambda connection: connection.execute(there).first() is not None,
        )

    def end(self, trial: int, how: str) -> None:
        """Note that a worker trains a trial no more, and why."""
        if (number := self._open.pop(trial, None)) is not None:
            now = time.time()
            for stint in [stint for stint in self.latest.values() if stint.trial == trial and stint.ended is None]:
                self.latest[stint.worker] = replace(stint, ended=now, how=str(how))
            ended = {"of_sweep": self._sweep, "of_number": number, "at": now, "as": str(how)}
            self._writes.put(end_stints, ended)


def insert_stints(connection: Connection, begun: list[dict[str, Any]]) -> None:
    """Write stints down as they begin."""
    connection.execute(stints.insert(), begun)


def end_stints(connection: Connection, ended: list[dict[str, Any]]) -> None:
    """Write down that stints have ended."""
    mine = (stints.c.sweep == bindparam("of_sweep")) & (stints.c.number == bindparam("of_number"))
    connection.execute(stints.update().where(mine).values(ended=bindparam("at"), how=bindparam("as")), ended)


def read_stints(ledger: Ledger, sweep: str, *, owner: str | None = None) -> list[Stint]:
    """Return every stint of a sweep, or those under one driver, in the order they began."""
    columns = [stints.c[name] for name in ("trial", "worker", "owner", "began", "ended", "how")]
    query = select(*columns).where(stints.c.sweep == sweep).order_by(stints.c.number)
    if owner is not None:
        query = query.where(stints.c.owner == owner)
    return [Stint(*row) for row in ledger.read(lambda connection: connection.execute(query).all())]
