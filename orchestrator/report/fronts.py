"""The trials worth their cost: those that no other one beats in quality and cost at once (Pareto)."""

from __future__ import annotations

from collections.abc import Sequence

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


def undominated(points: Sequence[Point], sign: float) -> list[Point]:
    """Return the points that none beats, the cheapest first; `sign` times the value is the smaller the better.

    A point is beaten by one that is as good at least in both ways, and better in one. Equal points beat each other not.
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, sign * point.value, point.trial)):
        same = bool(front) and (front[-1].cost, front[-1].value) == (point.cost, point.value)
        if not front or same or sign * point.value < sign * front[-1].value:
            front.append(point)
    return front
