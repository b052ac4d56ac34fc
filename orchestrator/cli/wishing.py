"""What commands share that want something of a sweep: who carries it out, and what the user is told."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from orchestrator.cli.options import flags_given
from orchestrator.database.lease import Lease
from orchestrator.database.ledger import Ledger
from orchestrator.database.wishes import Wish, WishKind, WishState, add_wish, answer_wish, read_wish
from orchestrator.errors import SweepHeld, UserError
from orchestrator.spec import spec_from
from orchestrator.steering import changed, check_wish

PATIENCE_S = 12.0
"""How long a command waits for an answer; a driver looks every two seconds, and in-process between evaluations."""
LOOK_EVERY_S = 0.25
OF_THE_SPEC = (WishKind.EXTEND, WishKind.NARROW)
"""Wishes that need no trial: they are carried out at once where nobody runs the sweep."""


def want(ledger: Ledger, name: str, kind: WishKind, content: Mapping[str, Any]) -> Wish:
    """Have a wish carried out by whoever runs the sweep; return it as it stands after some seconds.

    Where nobody does, a change of the spec is made here, and any other wish waits until the sweep goes on. Raises
    UserError where it cannot be.
    """
    row = ledger.sweep(name)
    if kind is WishKind.NARROW and row.state == "finished":
        raise UserError(f"{name} is finished; give it more trials first, with `bptt extend {name} --trials N`")
    check(ledger, name, kind, content)
    if kind in OF_THE_SPEC and not row.is_driven:
        try:
            return change_spec(ledger, name, kind, content)
        except SweepHeld:
            pass  # someone has just begun to run it
    wish = add_wish(ledger, name, kind, content)
    end = time.monotonic() + PATIENCE_S
    while wish.state is WishState.NEW and time.monotonic() < end and ledger.sweep(name).is_driven:
        time.sleep(LOOK_EVERY_S)
        wish = read_wish(ledger, name, wish.number)
    if wish.state is WishState.REFUSED:
        raise UserError(wish.answer)
    return wish


def check(ledger: Ledger, name: str, kind: WishKind, content: Mapping[str, Any]) -> None:
    """Raise UserError where what the database knows is enough to see that a wish cannot be."""
    if kind in OF_THE_SPEC:
        check_wish(spec_from(ledger.sweep(name).spec), [], kind, content)
        return
    from orchestrator.database.stored import read_sweep  # Optuna, which takes a moment to load

    check_wish(*read_sweep(ledger, name), kind, content)


def change_spec(ledger: Ledger, name: str, kind: WishKind, content: Mapping[str, Any]) -> Wish:
    """Change the spec of a sweep that nobody runs; SweepHeld where someone does, UserError where it cannot be."""
    lease = Lease(ledger, name)
    before = lease.take()  # so that no driver begins with the old spec while the new one is written
    state, message = before.state, before.message
    try:
        spec, answer = changed(spec_from(before.spec), kind, content)
        wish = replace(add_wish(ledger, name, kind, content), state=WishState.DONE, answer=answer)
        answer_wish(ledger, name, wish, owner=lease.owner, spec=spec)
        if kind is WishKind.EXTEND and state != "running":
            state, message = "interrupted", "its budget was extended"
    finally:
        lease.give_back(state, message)  # one whose driver is gone stays so, for whoever takes such sweeps up
    return wish


def tell(ledger: Ledger, name: str, wish: Wish, *, as_json: bool) -> None:
    """Print what came of a wish."""
    is_driven = ledger.sweep(name).is_driven
    if as_json:
        click.echo(json.dumps({"name": name, **wish.plain(), "driven": is_driven}))
        return
    again = f"`bptt resume {name}{flags_given()}`"
    if wish.state is not WishState.NEW:
        click.echo(wish.answer + ("" if is_driven else f"; go on with {again}"))
    elif is_driven:
        click.echo(f"wish {wish.number} of {name} is noted; its driver has not come to it yet, and will")
    else:
        click.echo(f"nobody runs {name} now: it will be done when the sweep goes on, with {again}")
