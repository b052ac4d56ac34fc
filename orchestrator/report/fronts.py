"""The trials worth their cost: those that no other one beats in quality and cost at once (Pareto)."""

from __future__ import annotations

from orchestrator.pareto import undominated
from orchestrator.report.evidence import Front, Point
from orchestrator.report.values import complete_values, sign
from orchestrator.standing import Standing
from orchestrator.trial import COSTS


def find_fronts(seen: Standing) -> list[Front]:
    """Return the front for each kind of cost that was measured; an objective's own comes first."""
    values, trials = complete_values(seen, seen.trials), {trial.number: trial for trial in seen.trials}
    fronts = []
    for kind in sorted(COSTS, key=lambda kind: kind != seen.spec.objective.cost):
        points = [
            Point(number, value, cost, dict(trials[number].chosen))
            for number, value in values.items()
            if (cost := trials[number].cost(kind)) is not None
        ]
        if points:
            fronts.append(Front(kind, undominated(points, sign(seen)), len(points)))
    return fronts
