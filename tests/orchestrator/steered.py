"""Wishes as tests make them, and what came of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.database.ledger import Ledger
from orchestrator.database.wishes import WishKind, WishState, all_wishes
from orchestrator.event import Event, Happening
from orchestrator.settings import Settings
from tests.orchestrator.conftest import Wanted


def answers(settings: Settings) -> list[tuple[WishState, str]]:
    return [(wish.state, wish.answer) for wish in all_wishes(Ledger(settings.study_url), "test")]


def of(number: int, happening: Happening, evaluations: int | None = None) -> Callable[[Event], bool]:
    """Return whether an event is this one of this trial."""

    def is_it(event: Event) -> bool:
        trial = event.trial
        reached = evaluations is None or (trial is not None and len(trial.evaluations) == evaluations)
        return event.happening is happening and trial is not None and trial.number == number and reached

    return is_it


def extend(trials: int = 0, hours: float | None = None) -> Wanted:
    return WishKind.EXTEND, {"trials": trials, "hours": hours}


def narrow(**space: Any) -> Wanted:
    return WishKind.NARROW, {
        "space": {
            name: {"range": list(given)} if isinstance(given, tuple) else {"choice": given}
            for name, given in space.items()
        }
    }


def enqueue(extra: bool = False, **setting: Any) -> Wanted:
    return WishKind.ENQUEUE, {"setting": setting, "extra": extra}


SPACE: dict[str, Any] = {
    "quality": {"float": [0.1, 1.0], "log": True},
    "hidden_size": {"int": [8, 64], "step": 8},
    "cell_type": ["rnn", "gru", "lstm"],
}


NARROW = narrow(quality=(0.2, 0.5), hidden_size=(16, 32), cell_type=["lstm", "gru"])
