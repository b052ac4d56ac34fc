"""The seam between the sweep loop and whatever shows its runs to people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import workloads
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.trial import TrialRecord
from workloads.protocol import Dataset, Predictor


@dataclass(frozen=True, slots=True)
class Model:
    """The winner, ready to be logged: what it is made of, and where it comes from; plain values."""

    trial: TrialRecord
    checkpoint: bytes
    kind: str
    options: Mapping[str, Any]

    @property
    def predictor(self) -> Predictor:
        """Rebuild the network, which loads torch."""
        return workloads.load(self.kind, self.options).predictor(self.checkpoint)


Files = Callable[[Mapping[str, Any] | None], Mapping[str, bytes]]
"""Returns a sweep's report and its figures by file name, told how the sweep ended where it has. Takes a moment."""
Illustrate = Callable[[Settings, str], Files]
"""Draws the figures of a sweep, which takes seconds.

A function of a module, since it is called in another process; the report knows of trackers, and so trackers are given
it rather than know of it.
"""


class Tracker(Protocol):
    """A view of a sweep for people. Nothing waits for it, and it may fall behind: the database is the truth."""

    def warm_up(self) -> None:
        """Load what takes seconds, behind the caller's back; open() works without."""

    def open(self, spec: SweepSpec, dataset: Dataset, trials: Sequence[TrialRecord]) -> None:
        """Begin to show a sweep; `trials` are those it has already, which may be shown in part, in full or not."""

    def changed(self, trial: TrialRecord) -> None:
        """Say that a trial is new, was evaluated, or has ended. Returns at once."""

    def register(self, model: Model) -> str | None:
        """Log the winner's model, register it and let it be champion or challenger; return its URI."""

    def close(self, summary: Mapping[str, Any], timeout_s: float) -> bool:
        """Show the rest and the summary; False where `timeout_s` passed before all was shown."""

    def abandon(self) -> None:
        """Show nothing more, at once: what there is to show is another driver's to say now."""


class NoTracker:
    """Shows nothing."""

    def warm_up(self) -> None:
        """Load nothing."""

    def open(self, spec: SweepSpec, dataset: Dataset, trials: Sequence[TrialRecord]) -> None:
        """Begin to show nothing."""

    def changed(self, trial: TrialRecord) -> None:
        """Go on."""

    def register(self, model: Model) -> str | None:
        """Register nothing."""
        return None

    def close(self, summary: Mapping[str, Any], timeout_s: float) -> bool:
        """Stop."""
        return True

    def abandon(self) -> None:
        """Stop."""
