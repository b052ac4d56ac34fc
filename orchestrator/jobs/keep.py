"""Watching the database for sweeps whose driver is gone, and having each taken up.

Two that watch do no harm: the lease lets one driver in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.database.lease import lay_down
from orchestrator.database.ledger import Ledger, SweepRow
from orchestrator.errors import SweepHeld
from orchestrator.jobs.supervisor import MOST_STARTS, Patience
from orchestrator.settings import LEASE_S


def is_orphan(row: SweepRow) -> bool:
    """Tell whether a sweep should be running and nobody runs it."""
    # Between its entry in the database and its driver's lease a sweep has no owner for a moment.
    begun = row.owner is not None or row.created < time.time() - LEASE_S
    return row.state == "running" and begun and not row.is_driven


@dataclass(slots=True)
class Keeper:
    """Looks at every sweep when told to, and has those taken up whose driver is gone."""

    ledger: Ledger
    take_up: Callable[[SweepRow], None]
    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _patience: dict[str, Patience] = field(default_factory=dict)
    _not_before: dict[str, float] = field(default_factory=dict)

    def look(self) -> list[str]:
        """Have orphaned sweeps taken up, unless that failed a moment ago; return their names."""
        taken = []
        for row in self.ledger.all():
            if not is_orphan(row):
                continue
            if row.stop_requested:
                self._lay_down(row)
            elif self.clock() >= self._not_before.get(row.name, 0.0) and self._may_try(row):
                self.say(f"{row.name}: its driver is gone")
                self.take_up(row)
                taken.append(row.name)
        return taken

    def _may_try(self, row: SweepRow) -> bool:
        patience = self._patience.setdefault(row.name, Patience())
        pause_s = patience.pause_s(self.ledger.count_evaluations(row.name))
        if pause_s is None:
            if patience.starts == MOST_STARTS:
                self.say(f"{row.name}: taken up again and again without an evaluation in between; left to you")
            return False
        # A driver that was started needs a while until it holds the lease.
        self._not_before[row.name] = self.clock() + 30.0 + pause_s
        return True

    def _lay_down(self, row: SweepRow) -> None:
        try:
            lay_down(self.ledger, row)
        except SweepHeld:
            return
        self.say(f"{row.name}: its driver is gone, but it was asked to stop before: left stopped")
