"""What a driver writes of its sweep, gathered so that what happens together waits for the disk once.

The order of writes is kept, and all that are gathered are written in one transaction, or none: a kill leaves the sweep
as it was before the first of them. Nobody outside may be told of them before; who has to be is told by `after`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.engine import Connection

from orchestrator.ledger import Ledger
from orchestrator.patience import patiently

Write = Callable[[Connection], object]
IsThere = Callable[[Connection], bool]


class Writes:
    """The writes of one driver; LeaseLost where another holds the sweep, and nothing is written then."""

    def __init__(self, ledger: Ledger, name: str, owner: str) -> None:
        self.ledger, self.name, self.owner = ledger, name, owner
        self._waiting: list[tuple[Write, IsThere | None]] = []
        self._after: list[Callable[[], object]] = []
        self._gathers = False

    def put(self, write: Write, *, is_there: IsThere | None = None) -> None:
        """Write now, or with all that is gathered.

        `is_there` tells whether it was written, after a connection that broke at the commit; without it writing twice
        does no harm.
        """
        self._waiting.append((write, is_there))
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
        writes, self._waiting = self._waiting, []
        acts, self._after = self._after, []
        if not writes:
            return

        def write() -> None:
            with self.ledger.held(self.name, self.owner) as connection:
                for each, _ in writes:
                    each(connection)

        known = next((is_there for _, is_there in writes if is_there is not None), None)

        def write_unless_there() -> None:
            if known is None or not self.ledger.read(known):  # all were committed, or none
                write()

        patiently(write, again=write_unless_there)
        for act in acts:
            act()
