"""What the page and its figures are made of, read and computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import environment_of
from orchestrator.looks import Look, looks_of
from orchestrator.report.findings import Report
from orchestrator.report.gather import differing, report_of
from orchestrator.report.optunas import study_of
from orchestrator.report.values import complete_values, hyperparameter, sign
from orchestrator.standing import Standing, standing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.study import Study

FAR_OUT = 3.0
"""Values so many quartile ranges worse than the worse quartile are left out of what an axis shows."""


@dataclass(frozen=True)
class Story:
    """One sweep at one moment, with what its report found."""

    seen: Standing
    report: Report
    environment: Mapping[str, Any]
    """What its driver ran last with; empty for sweeps of before it was noted."""

    @cached_property
    def values(self) -> dict[int, float]:
        """The values of complete trials by number, the best first."""
        return complete_values(self.seen, self.seen.trials)

    @cached_property
    def lengths(self) -> dict[int, int]:
        """Truncation lengths by trial."""
        return hyperparameter(self.seen, "truncation_length")

    @cached_property
    def cells(self) -> dict[int, str]:
        """Cell types by trial."""
        return {number: str(cell) for number, cell in hyperparameter(self.seen, "cell_type").items()}

    @cached_property
    def looks(self) -> dict[str, Look]:
        """The looks of the cell types; of one without a name where the workload knows none."""
        return looks_of(sorted(set(self.cells.values())) or [""])

    @cached_property
    def differing(self) -> list[str]:
        """The swept hyperparameters in which complete trials differ, those that matter most first."""
        settings = [trial.chosen for trial in self.seen.trials if trial.number in self.values]
        found = differing(settings) if settings else []
        parts = self.report.importance.parts
        return sorted(found, key=lambda name: -parts.get(name, 0.0))

    @cached_property
    def study(self) -> Study:
        """The sweep as Optuna's plots want it."""
        return study_of(self.seen)

    def as_it_ended(self, ended: Mapping[str, Any]) -> Story:
        """Return the story of a sweep that has ended since: its state, its message and a model that is new."""
        how = {"state": ended["state"], "message": ended["message"], "model": ended["model"] or self.seen.row.model}
        seen = replace(self.seen, row=replace(self.seen.row, **how))
        return replace(self, seen=seen, report=replace(self.report, **how))

    def limits(self, values: Sequence[float], margin: float = 0.06) -> tuple[float, float]:
        """Return the ends of an axis that shows the values, but for those far out on the bad side."""
        losses = sign(self.seen) * np.array([value for value in values if np.isfinite(value)])
        lower, upper = np.quantile(losses, (0.25, 0.75))
        worst = min(losses.max(), upper + FAR_OUT * max(upper - lower, 1e-12))
        room = margin * ((worst - losses.min()) or abs(worst) or 1.0)
        ends = sign(self.seen) * np.array([losses.min() - room, worst + room])
        return float(ends.min()), float(ends.max())

    def set_limits(self, axes: Axes, values: Sequence[float]) -> None:
        """Let the vertical axis show the values, but for those far out on the bad side."""
        if values:
            axes.set_ylim(*self.limits(values))


def read_story(ledger: Ledger, name: str) -> Story:
    """Read a sweep and find out what there is to tell."""
    seen = standing(ledger, ledger.sweep(name))
    environment = environment_of(ledger, name)
    return Story(seen, report_of(ledger, seen), environment)
