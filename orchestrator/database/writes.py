"""What a driver writes of its sweep, gathered so that what happens together waits for the disk once.

All that is gathered is written in one transaction, or nothing: a kill leaves the sweep as it was before the first of
it. Nobody outside may be told of it before; who has to be is told by `after`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine import Connection

from orchestrator.database.ledger import Ledger
from orchestrator.database.patience import patiently

Write = Callable[[Connection, list[Any]], object]
"""Writes all that was put for it, in as few statements as it takes: a database may be far away."""
IsThere = Callable[[Connection], bool]


class Writes:
    """The writes of one driver; LeaseLost where another holds the sweep, and nothing is written then."""

    def __init__(self, ledger: Ledger, name: str, owner: str) -> None:
        self.ledger, self.name, self.owner = ledger, name, owner
        self._waiting: dict[Write, list[Any]] = {}
        self._known: IsThere | None = None
        self._after: list[Callable[[], object]] = []
        self._gathers = False

    def put(self, write: Write, what: Any, *, is_there: IsThere | None = None, first: bool = False) -> None:
        """Write something now, or with all that is gathered; `first` where the rest may be about it.

        `is_there` tells whether it was written, after a connection that broke at the commit; without it writing twice
        does no harm.
        """
        if first and write not in self._waiting:
            self._waiting = {write: [], **self._waiting}
        self._waiting.setdefault(write, []).append(what)
        self._known = self._known or is_there
        if not self._gathers:
            self.flush()

    def after(self, act: Callable[[], object]) -> None:
        """Do something once all that was put before is in the database."""
        if self._waiting:
            self._after.append(act)
        else:
            act()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Gather what is put within, and write it at the end, whatever happens."""
        before, self._gathers = self._gathers, True
        try:
            yield
        finally:
            self._gathers = before
            if not before:
                self.flush()

    def flush(self) -> None:
        """Write what is gathered, and do what was to be done after."""
        writes, self._waiting = self._waiting, {}
        known, self._known = self._known, None
        acts, self._after = self._after, []
        if not writes:
            return

        def write() -> None:
            with self.ledger.held(self.name, self.owner) as connection:
                for each, what in writes.items():
                    each(connection, what)

        def write_unless_there() -> None:
            if known is None or not self.ledger.read(known):  # all were committed, or none
                write()

        patiently(write, again=write_unless_there)
        for act in acts:
            act()
