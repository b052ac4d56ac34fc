"""Who trained which trial when, how long workers were idle, and what went wrong on the way."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

from orchestrator.database.stints import Stint
from orchestrator.report.evidence import Fault, Stretch, Timeline
from orchestrator.standing import Standing
from orchestrator.trial import TrialRecord

UNDER_WAY, DRIVER_LOST = "under way", "driver lost"
FAULTS = {
    "lost": "its worker died",
    "moved": "its machine was about to go",
    "rewound": "its checkpoint was lost",
    DRIVER_LOST: "the driver died",
}
"""Ways in which a stint may end that are nobody's plan, in words."""


def find_timeline(seen: Standing, stints: Sequence[Stint]) -> Timeline | None:
    """Put the stints in order; None for a sweep that noted none."""
    if not stints:
        return None
    trials = {trial.number: trial for trial in seen.trials}
    after: dict[int, float] = {}
    stretches: list[Stretch] = []
    for stint in reversed(stints):
        ended, how = end_of(stint, trials.get(stint.trial), before=after.get(stint.trial), seen=seen)
        after[stint.trial] = stint.began
        stretches.insert(0, Stretch(stint.trial, stint.worker, stint.owner, stint.began, max(ended, stint.began), how))
    spans: dict[tuple[str, str], list[Stretch]] = defaultdict(list)
    for stretch in stretches:
        spans[stretch.owner, stretch.worker].append(stretch)
    there = sum(max(each.ended for each in span) - span[0].began for span in spans.values())
    trained = sum(each.ended - each.began for each in stretches)
    faults = [Fault(each.ended, each.trial, each.worker, FAULTS[each.how]) for each in stretches if each.how in FAULTS]
    workers = len({each.worker for each in stretches})
    drivers = len({each.owner for each in stretches})
    return Timeline(
        stretches, workers, drivers, trained, max(there - trained, 0.0), sorted(faults, key=lambda fault: fault.time)
    )


def end_of(stint: Stint, trial: TrialRecord | None, *, before: float | None, seen: Standing) -> tuple[float, str]:
    """Return when and how a stint ended; of one that a driver left open, the trial's last evaluation in it.

    `before` is when the trial's next stint began.
    """
    if stint.ended is not None:
        return stint.ended, stint.how
    if before is None and seen.row.is_driven and stint.owner == seen.row.owner:
        return time.time(), UNDER_WAY
    evaluated = [] if trial is None else [each.time for each in trial.evaluations]
    inside = [at for at in evaluated if stint.began <= at and (before is None or at <= before)]
    return max(inside, default=stint.began), DRIVER_LOST
