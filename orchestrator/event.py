"""What happens in a sweep, as it is told to whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.trial import TrialRecord


class Happening(StrEnum):
    """What an event tells of."""

    STARTED = "started"
    RESUMED = "resumed"
    EVALUATED = "evaluated"
    PAUSED = "paused"
    ENDED = "ended"
    LOST = "lost"
    MOVED = "moved"
    WAITING = "waiting"
    """For a cluster that has no room now."""
    TICK = "tick"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, for whoever shows the sweep."""

    happening: Happening
    trial: TrialRecord | None = None
    message: str = ""
