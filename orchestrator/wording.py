"""Figures, durations and settings in words, the same in every view."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.trial import TrialRecord, TrialState

FIRST = ("cell_type", "truncation_length", "hidden_size")
"""The hyperparameters that a sweep is about; views show them before the others."""

LONGEST = 1e12
"""Values from which on the digits of a number are no longer written out."""


def number(value: float | None) -> str:
    """Return a measured value in four significant digits; a dash where there is none."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    # The alternate form keeps trailing zeros, so that figures stand in line below each other.
    return f"{value:,.0f}" if 10_000 <= abs(value) < LONGEST else f"{value:#.4g}".removesuffix(".")


def percent(part: float) -> str:
    """Return a part of the whole in per cent, in two digits."""
    return f"{100 * part:.0f} %" if part >= 0.1 else f"{100 * part:.2g} %"


def count(amount: int, noun: str) -> str:
    """Return `1 trial`, `2 trials`, `12,000 trials`."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def duration(seconds: float) -> str:
    """Return seconds in the two largest units that say something: `4.2 s`, `3 min 05 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def briefly(seconds: float) -> str:
    """Return seconds in the largest unit alone, for a column of them: `12 s`, `3 min`, `2 h`, `4 d`."""
    whole = max(int(seconds), 0)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def value_of(value: Any) -> str:
    """Return a hyperparameter's value as a sweep file could say it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(value_of, value)) + "]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def in_view_order(names: Iterable[str]) -> list[str]:
    """Return hyperparameters' names, those that a sweep is about first."""
    return sorted(names, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def setting(chosen: Mapping[str, Any]) -> str:
    """Return swept hyperparameters on one line."""
    return ", ".join(f"{name} {value_of(chosen[name])}" for name in in_view_order(chosen))


def states(trials: Sequence[TrialRecord], *, driven: bool) -> str:
    """Return how many trials are in which state: `5 complete, 2 pruned, 1 under way`."""
    counts = count_states(trials)
    return ", ".join(f"{amount:,} {state_word(state, driven)}" for state, amount in counts.items()) or "no trials yet"


def state_word(state: str, driven: bool) -> str:
    """Return a trial's state in words that are true while a driver runs the sweep, or while none does."""
    return ("under way" if driven else "unfinished") if state == TrialState.RUNNING else state


def count_states(trials: Sequence[TrialRecord]) -> dict[str, int]:
    """Return the number of trials by state, in a fixed order, states without trials left out."""
    counts = Counter(trial.state for trial in trials)
    order = sorted(TrialState, key=lambda state: not state.is_final)  # those to which nothing more happens first
    return {str(state): counts[state] for state in order if counts[state]}


def so_far(trial: TrialRecord, metric: str, evaluations: int) -> str:
    """Return what an unfinished trial has come to: `valid_loss 2.400 after 2 of 4 evaluations, trial 2`."""
    reached = f"{len(trial.evaluations)} of {count(evaluations, 'evaluation')}"
    return f"{metric} {number(trial.value(metric))} after {reached}, trial {trial.number}"


def ending(trial: TrialRecord, metric: str, best: TrialRecord | None) -> str:
    """Return how a trial ended, and what came of it or why: `pruned: its best after ...`."""
    if trial.state is not TrialState.COMPLETE:
        return f"{trial.state}: {trial.reason}" if trial.reason else str(trial.state)
    return f"{trial.state}: {metric} {number(trial.value(metric))}{', the best so far' if best is trial else ''}"
