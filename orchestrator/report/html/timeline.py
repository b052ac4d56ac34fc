"""The figure of the cluster's timeline: which worker trained which trial when."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from orchestrator.looks import GREY, INK, LOOKS
from orchestrator.report.evidence import Stretch
from orchestrator.report.html.story import Story
from orchestrator.report.timeline import FAULTS, UNDER_WAY
from orchestrator.trial import TrialState
from orchestrator.workers import shown_workers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST = 1 / 400
"""Of the width: nothing is drawn narrower."""
LABELLED = 1 / 45
"""Of the width: from there on a trial's number stands in its bar."""
SEEN = {
    TrialState.COMPLETE: (LOOKS[0].color, ""),
    UNDER_WAY: ("#7db8e8", ""),
    TrialState.PRUNED: (GREY, "///"),
    TrialState.PAUSED: (GREY, "..."),
    "stopped": (GREY, ""),
    "failed": (LOOKS[1].color, "xxx"),
    "broken off": (LOOKS[4].color, "\\\\\\"),
}
"""Colours and hatches by how a stretch ended."""


def timeline(story: Story) -> Figure | None:
    """Draw a row for each worker and a bar for each stretch of a trial; crosses where one was broken off."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    found = story.report.timeline
    if found is None:
        return None
    workers = shown_workers([each.worker for each in found.stretches])
    rows = {worker: row for row, worker in enumerate(workers)}
    figure = Figure(figsize=(9, 1.5 + min(0.28 * len(rows), 10)), layout="constrained")
    axes = figure.subplots()
    start = min(each.began for each in found.stretches)
    width = max(each.ended for each in found.stretches) - start or 1.0
    unit, name = unit_of(width)
    bars: dict[tuple[str, int], list[Stretch]] = defaultdict(list)
    for each in found.stretches:
        bars[kind_of(each), rows[each.worker]].append(each)
    for (kind, row), stretches in bars.items():
        spans = [
            ((each.began - start) / unit, max(each.ended - each.began, LEAST * width) / unit) for each in stretches
        ]
        color, hatch = SEEN[kind]
        axes.broken_barh(
            spans, (row - 0.36, 0.72), facecolor=color, hatch=hatch, edgecolor="white", linewidth=0.4, alpha=0.85
        )
    for each in found.stretches:
        if each.ended - each.began > LABELLED * width:
            middle = ((each.began + each.ended) / 2 - start) / unit
            axes.text(middle, rows[each.worker], str(each.trial), ha="center", va="center", color="white", fontsize=7)
    faults = [each for each in found.stretches if each.how in FAULTS]
    axes.plot([(each.ended - start) / unit for each in faults], [rows[each.worker] for each in faults], "X", color=INK)
    kinds = [kind for kind in SEEN if kind in {kind for kind, _ in bars}]
    handles = [
        Patch(facecolor=SEEN[kind][0], hatch=SEEN[kind][1], edgecolor="white", label=str(kind)) for kind in kinds
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    label_rows(axes, list(workers.values()))
    axes.set(xlabel=f"{name} since the first trial began", xlim=(-0.01 * width / unit, 1.01 * width / unit))
    return figure


def kind_of(stretch: Stretch) -> str:
    """Return how a stretch ended, as far as a figure tells."""
    if stretch.how in FAULTS:
        return "broken off"
    return stretch.how if stretch.how in SEEN else "failed"


def unit_of(seconds: float) -> tuple[float, str]:
    """Return the unit of time that suits a span, in seconds and in words."""
    if seconds < 300:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")


def label_rows(axes: Axes, names: list[str]) -> None:
    """Name the rows, each of them while they are few."""
    every = max(len(names) // 40, 1)
    axes.set_yticks(range(0, len(names), every), names[::every])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
