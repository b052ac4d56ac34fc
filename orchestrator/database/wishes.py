"""Wishes: what users want of a sweep that may be running. Commands write them, and the driver carries them out.

The driver alone writes trials, and the spec while it runs; whoever wants something of it says so here, and finds the
answer here. A wish outlives the driver: it is carried out when the sweep goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from orchestrator.database.ledger import Ledger, sweeps, wishes
from orchestrator.database.patience import patiently
from orchestrator.spec import SweepSpec

MOST_TRIES = 20
"""To take the next number, while others take it."""


class WishKind(StrEnum):
    """What can be wanted."""

    EXTEND = "extend"
    NARROW = "narrow"
    ENQUEUE = "enqueue"
    STOP = "stop"
    PIN = "pin"


class WishState(StrEnum):
    """How far a wish has come."""

    NEW = "new"
    ACCEPTED = "accepted"
    """A setting that is to be tried as soon as a worker is free."""
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Wish:
    """One wish, as the database has it."""

    number: int
    kind: WishKind
    content: Mapping[str, Any]
    created: float
    state: WishState = WishState.NEW
    answer: str = ""
    """What the driver says to it, in one line; empty before it does."""

    @property
    def words(self) -> str:
        """Return the wish and how far it has come on one line."""
        is_of_trial = self.kind in (WishKind.STOP, WishKind.PIN)  # trial 0 is one
        given = {key: value for key, value in self.content.items() if key != BEFORE and (value or is_of_trial)}
        what = ", ".join(_said(key, value) for key, value in given.items())
        return f"{self.kind} {what}: {self.answer or 'not done yet'}"

    def plain(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        content = {key: value for key, value in self.content.items() if key != BEFORE}
        return {"wish": self.number, "kind": str(self.kind), **content, "state": str(self.state), "answer": self.answer}


def _said(key: str, value: Any) -> str:
    """Return a part of a wish as its command has it: `hidden_size=128` for a setting, the word alone for a flag."""
    if isinstance(value, Mapping):
        return ", ".join(
            f"{name}={each if isinstance(each, str) else json.dumps(each)}" for name, each in value.items()
        )
    return key if value is True else f"{key} {json.dumps(value)}"


BEFORE = "before"
"""The spec as it was before a wish changed it, among the wish's content."""


def add_wish(ledger: Ledger, sweep: str, kind: WishKind, content: Mapping[str, Any]) -> Wish:
    """Write a wish down; its number is above all others of the sweep."""
    last = select(func.max(wishes.c.number)).where(wishes.c.sweep == sweep)
    for tries in range(MOST_TRIES):
        try:
            with ledger.engine.begin() as connection:
                wish = Wish((connection.execute(last).scalar() or 0) + 1, kind, content, time.time())
                row = {"number": wish.number, "kind": str(kind), "content": json.dumps(dict(content))}
                row |= {"created": wish.created, "state": str(wish.state)}
                connection.execute(wishes.insert().values(sweep=sweep, **row))
                return wish
        except IntegrityError:  # another command took the number at the same moment
            if tries + 1 == MOST_TRIES:
                raise
    raise RuntimeError("unreachable")


def all_wishes(ledger: Ledger, sweep: str) -> list[Wish]:
    """Return every wish of a sweep, in the order in which they were made."""
    return ledger.read(lambda connection: _read(connection, sweep))


def open_wishes(ledger: Ledger, sweep: str) -> list[Wish]:
    """Return the wishes that are neither done nor refused, in order."""
    return ledger.read(lambda connection: _read(connection, sweep, WishState.NEW, WishState.ACCEPTED))


def read_wish(ledger: Ledger, sweep: str, number: int) -> Wish:
    """Return one wish as it stands now."""
    return next(wish for wish in all_wishes(ledger, sweep) if wish.number == number)


def answer_wish(ledger: Ledger, sweep: str, wish: Wish, *, owner: str, spec: SweepSpec | None = None) -> None:
    """Write state and answer of a wish, and in the same transaction the spec that it asked for, if it did.

    A database that is away is waited for. Raises LeaseLost where `owner` does not hold the sweep, and writes nothing
    then.
    """

    def write() -> None:
        values = {"state": str(wish.state), "answer": wish.answer}
        with ledger.held(sweep, owner) as connection:
            if spec is not None:
                mine = sweeps.c.name == sweep
                before = json.loads(connection.execute(select(sweeps.c.spec).where(mine)).scalar_one())
                values["content"] = json.dumps({**wish.content, BEFORE: before})
                connection.execute(sweeps.update().where(mine).values(spec=json.dumps(spec.plain())))
            this = (wishes.c.sweep == sweep) & (wishes.c.number == wish.number)
            connection.execute(wishes.update().where(this).values(**values))

    def write_unless_written() -> None:
        # Written twice, the spec before would be the one after.
        if read_wish(ledger, sweep, wish.number).state is not wish.state:
            write()

    patiently(write, again=write_unless_written)


def specs_before(ledger: Ledger, sweep: str) -> list[dict[str, Any]]:
    """Return the plain specs that a sweep had before wishes changed it, the first one first."""
    done = (wish for wish in all_wishes(ledger, sweep) if wish.state in (WishState.DONE, WishState.ACCEPTED))
    return [wish.content[BEFORE] for wish in done if BEFORE in wish.content]


def _read(connection: Connection, sweep: str, *states: WishState) -> list[Wish]:
    query = select(wishes).where(wishes.c.sweep == sweep)
    if states:
        query = query.where(wishes.c.state.in_(list(map(str, states))))
    return [
        Wish(row.number, WishKind(row.kind), json.loads(row.content), row.created, WishState(row.state), row.answer)
        for row in connection.execute(query.order_by(wishes.c.number))
    ]
