"""Quality against truncation length, for each cell type, with its uncertainty."""

from __future__ import annotations

from orchestrator.report.evidence import Curve
from orchestrator.report.landscape import Landscape
from orchestrator.report.values import complete_values, grid_of
from orchestrator.standing import Standing


def find_curve(seen: Standing, landscape: Landscape | None, *, note: str) -> Curve:
    """Return what to expect at each truncation length that was tried, or at some between the ends of what was."""
    complete = len(complete_values(seen, seen.trials))
    if landscape is None:
        return Curve((), complete, note)
    lengths = landscape.tried("truncation_length")
    if not lengths:
        return Curve((), complete, f"{seen.spec.workload.kind} says nothing of a truncation length")
    if len(lengths) < 2:
        return Curve((), complete, "the complete trials have one truncation length")
    cells = landscape.tried("cell_type") or [None]
    fixed = [{"cell_type": cell, "truncation_length": length} for cell in cells for length in grid_of(lengths)]
    note = f"learnt from the {landscape.trials} best trials" if landscape.trials < complete else ""
    return Curve(landscape.estimates(fixed), complete, note)
