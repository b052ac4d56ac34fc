"""Figures of what makes trials good: the truncation length, the hyperparameters that matter, time and memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.horizon import GradientHorizon, draw, read_horizon
from orchestrator.looks import INK, LOOKS, Look, grid
from orchestrator.report.evidence import Estimate, Front
from orchestrator.report.html.story import Story
from orchestrator.wording import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COSTS_IN_WORDS = {"seconds": "training time in seconds", "memory": "peak memory in MB"}
APART = 1.03
"""The factor by which the intervals of two cell types stand apart."""
WIDE = 8.0
"""Costs are drawn on a log scale where the largest is so many times the smallest."""


def truncation_lengths(story: Story) -> Figure | None:
    """Draw quality against truncation length by cell type: the trials, the expected value and its 90 % interval."""
    from matplotlib.figure import Figure

    if len({story.lengths[number] for number in story.values if number in story.lengths}) < 2:
        return None
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    estimates = story.report.curve.estimates
    for place, (cell, look) in enumerate(story.looks.items()):
        mine = {n: value for n, value in story.values.items() if n in story.lengths and story.cells.get(n, "") == cell}
        axes.scatter(
            [story.lengths[number] for number in mine],
            list(mine.values()),
            s=14,
            marker=look.marker,
            facecolors="none",
            edgecolors=look.color,
            linewidths=0.9,
            alpha=0.8,
        )
        expected = [each for each in estimates if each.cell_type == cell]
        if expected:
            draw_estimates(axes, expected, look, aside=APART ** (place - (len(story.looks) - 1) / 2))
        elif mine:
            axes.plot([], [], look.marker, color=look.color, markerfacecolor="none", label=cell or "trial")
    ticks = [2**power for power in range(21) if min(story.lengths.values()) <= 2**power <= max(story.lengths.values())]
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set(xlabel="truncation length", ylabel=story.report.metric)
    ends = [end for each in estimates for end in (each.low, each.high)]
    story.set_limits(axes, [*story.values.values(), *ends])
    axes.legend(loc="best")
    grid(axes)
    return figure


def draw_estimates(axes: Axes, found: Sequence[Estimate], look: Look, *, aside: float) -> None:
    """Draw what is expected of one cell type, a little `aside` (a factor) so that intervals do not cover each other."""
    values = np.array([[each.value, each.value - each.low, each.high - each.value] for each in found]).T
    axes.errorbar(
        [each.truncation_length * aside for each in found],
        values[0],
        yerr=values[1:].clip(min=0.0),
        color=look.color,
        linestyle=look.dashes,
        marker=look.marker,
        markersize=5,
        elinewidth=0.8,
        capsize=2,
        label=found[0].cell_type or "expected",
    )


def importances(story: Story) -> Figure | None:
    """Draw how much of the difference between trials each hyperparameter explains."""
    from matplotlib.figure import Figure

    parts = dict(sorted(story.report.importance.parts.items(), key=lambda item: item[1]))
    if not parts:
        return None
    figure = Figure(figsize=(5.4, 0.8 + 0.3 * len(parts)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(parts), list(parts.values()), color=LOOKS[0].color, height=0.6)
    axes.bar_label(bars, labels=[percent(part) for part in parts.values()], padding=3, color=INK)
    axes.set(xlim=(0, 1.15 * max(parts.values())), xlabel="part of the difference that it explains (fANOVA)")
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.tick_params(axis="y", length=0)
    return figure


def front(story: Story, found: Front) -> Figure:
    """Draw complete trials by cost and quality, those that no other one beats in both (Pareto) joined."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 3.2), layout="constrained")
    axes = figure.subplots()
    trials = {trial.number: trial for trial in story.seen.trials}
    costs = {number: cost for number in story.values if (cost := trials[number].cost(found.cost)) is not None}
    for cell, look in story.looks.items():
        mine = [number for number in costs if story.cells.get(number, "") == cell]
        if mine:
            axes.scatter(
                [costs[number] for number in mine],
                [story.values[number] for number in mine],
                s=16,
                marker=look.marker,
                color=look.color,
                alpha=0.85,
                label=cell or "trial",
            )
    best = found.points
    axes.plot(
        [point.cost for point in best],
        [point.value for point in best],
        color=INK,
        drawstyle="steps-post",
        linewidth=1.2,
        label="no other beats these",
    )
    axes.scatter([point.cost for point in best], [point.value for point in best], s=60, facecolors="none", color=INK)
    if min(costs.values()) > 0 and max(costs.values()) / min(costs.values()) >= WIDE:
        axes.set_xscale("log")
    axes.set(xlabel=COSTS_IN_WORDS[found.cost], ylabel=story.report.metric)
    story.set_limits(axes, list(story.values.values()))
    axes.legend(loc="best")
    grid(axes)
    return figure


def horizons_of(story: Story) -> dict[str, GradientHorizon]:
    """Return the gradient horizons of the best trial, and of the best of every other cell type, that measured one."""
    trials = {trial.number: trial for trial in story.seen.trials}
    found: dict[str, GradientHorizon] = {}
    cells: set[str] = set()
    for number in story.values:  # the best first
        cell, last = story.cells.get(number, ""), trials[number].last
        if cell in cells or last is None:
            continue
        horizon = read_horizon(last.metrics, story.lengths.get(number))
        if horizon is not None:
            cells.add(cell)
            found[f"{cell} (trial {number})".strip()] = horizon
    return found


def horizons(story: Story) -> Figure | None:
    """Draw how gradients fall with the steps that they travel, and what a truncation would lose of them."""
    found = horizons_of(story)
    return draw(found) if found else None
