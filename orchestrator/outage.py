"""Sitting out an outage: work that something far away refuses for a while is tried anew until it is done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from orchestrator.errors import presentable

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outage:
    """What passes by itself, how long it is waited for, and what is said of it."""

    words: str
    """What is said once while it is waited for: `the sweeps' database is away`."""
    passes: Callable[[Exception], bool]
    """Tells whether an error is of this outage, rather than one that no waiting mends."""
    patience_s: float
    pauses_s: tuple[float, float]
    """Between two tries: the first pause, and the longest. Each is twice as long as the one before."""
    give_up: Callable[[float, str], Exception]
    """Makes the error of an outage that lasts, from the seconds waited and the reason in a line."""


def sit_out(outage: Outage, work: Callable[[], Result], *, again: Callable[[], Result] | None = None) -> Result:
    """Return what `work` returns, tried anew for as long as the outage lasts; from the second try on it is `again`.

    Raises what the outage gives up with where it outlasts its patience, and at once whatever is not of the outage.
    """
    began, (first_s, longest_s) = time.monotonic(), outage.pauses_s
    pause = first_s
    while True:
        try:
            return work()
        except Exception as error:
            if not outage.passes(error):
                raise
            waited = time.monotonic() - began
            why = presentable(str(error.__cause__ or error))[:300]
            if waited + pause > outage.patience_s:
                raise outage.give_up(waited, why) from error
            if pause == first_s:
                # Not by logging: what Optuna brings along to change its tables switches off the loggers there are.
                sys.stderr.write(f"bptt: {outage.words}; waiting for it: {why}\n")
        time.sleep(pause)
        work, pause = again or work, min(2 * pause, longest_s)
