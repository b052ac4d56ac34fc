"""Which of several costly things are worth their cost: those that no other one beats in both ways at once (Pareto)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Costed(Protocol):
    """A complete trial: how good, and at which cost."""

    @property
    def trial(self) -> int: ...  # noqa: D102

    @property
    def value(self) -> float: ...  # noqa: D102

    @property
    def cost(self) -> float: ...  # noqa: D102


Point = TypeVar("Point", bound=Costed)


def undominated(points: Iterable[Point], sign: float) -> list[Point]:
    """Return the points that none beats, the cheapest first; `sign` times the value is the smaller the better.

    A point is beaten by one that is as good at least in both ways, and better in one. Equal points beat each other not.
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, sign * point.value, point.trial)):
        same = bool(front) and (front[-1].cost, front[-1].value) == (point.cost, point.value)
        if not front or same or sign * point.value < sign * front[-1].value:
            front.append(point)
    return front
