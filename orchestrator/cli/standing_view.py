"""How a sweep stands, read from the database and drawn for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.text import Text

from orchestrator.cli.drawing import Drawing
from orchestrator.cli.terminal import facts_grid
from orchestrator.standing import Standing

AIRY = 30
"""Lines of a terminal from which on there are empty ones between the parts."""
FOR_ENDED = 4
"""Lines kept for how the last trials ended, however many are under way."""


def draw(
    seen: Standing, facts: Sequence[tuple[str, str]], console: Console, *, height: int | None = None
) -> RenderableType:
    """Return the standing, in at most so many lines where `height` is given; `facts` are those with a label."""
    drawing = Drawing(seen.spec, seen.trials, seen.workers, console)
    driven = seen.row.is_driven
    head = [_heading(seen, drawing), facts_grid(facts), drawing.counts(driven=driven, label="trials  ")]
    middle = [*drawing.resting()]
    best = drawing.best()
    if height is None:
        return _spaced(head, [*drawing.under_way(), *middle], [best], drawing.ended())
    gap = height >= AIRY
    # The cursor's line, and one between each part and the next.
    left = height - 1 - drawing.lines(*head, *middle, best) - 3 * gap
    under_way = drawing.under_way(room=left - FOR_ENDED * (1 + gap))
    ended = drawing.ended(room=left - (drawing.lines(*under_way) if under_way else 0))
    parts = [head, [*under_way, *middle], [best], ended]
    return _spaced(*parts) if gap else Group(*(each for part in parts for each in part))


def _heading(seen: Standing, drawing: Drawing) -> RenderableType:
    return Text(drawing.short(f"{seen.row.name}: {seen.spec.workload.kind}", drawing.width), style="bold")


def _spaced(*parts: Sequence[RenderableType]) -> RenderableType:
    """Return the parts with an empty line between one and the next."""
    shown: list[RenderableType] = []
    for part in parts:
        shown += [Text(""), *part] if shown and part else part
    return Group(*shown)
