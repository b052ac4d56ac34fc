"""Figures of the trials: how the search went, how each learnt, and which settings came to what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.looks import GREY, INK, LOOKS, borrowing, grid
from orchestrator.report.html.story import Story
from orchestrator.report.values import sign
from orchestrator.search.by_name import quietly
from orchestrator.trial import TrialRecord, TrialState

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_AXES = 7
"""Hyperparameters that stand side by side, those that matter most."""
MANY = 60
"""Complete trials from which their lines are drawn thin."""


def history(story: Story) -> Figure | None:
    """Draw each complete trial's value, and the best so far, in the order they were begun (Optuna's plot)."""
    if not story.values:
        return None
    from optuna.visualization.matplotlib import plot_optimization_history

    with quietly(), borrowing():
        axes = plot_optimization_history(story.study, target_name=story.report.metric)
    figure = taken(axes)
    figure.set_size_inches(5.4, 3.2)
    figure.set_layout_engine("constrained")
    axes.set(title="", xlabel="trial", xlim=(-0.5, len(story.seen.trials) - 0.5))
    axes.collections[0].set(
        color=LOOKS[0].color, alpha=0.75, sizes=[16 if len(story.values) > MANY else 26], label="trial"
    )
    axes.lines[0].set(color=LOOKS[1].color, alpha=1.0, label="best so far", drawstyle="steps-post")
    axes.legend(loc="best")
    grid(axes)
    story.set_limits(axes, list(story.values.values()))
    return figure


def taken(axes: Axes) -> Figure:
    """Return the figure that a library drew, which pyplot would otherwise keep for ever."""
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    figure = axes.figure
    if not isinstance(figure, Figure):
        raise TypeError(f"axes of a whole figure are needed, not of a {type(figure).__name__}")
    pyplot.close(figure)
    return figure


def learning_curves(story: Story) -> Figure | None:
    """Draw every trial's value by sequence step: complete ones by cell type, the others grey, the best one thick."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    curves = {trial.number: points_of(trial, story.report.metric) for trial in story.seen.trials}
    shown = [trial for trial in story.seen.trials if curves[trial.number]]
    if not shown:
        return None
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    thin = 0.6 if len(story.values) > MANY else 1.1
    others = [curves[trial.number] for trial in shown if trial.state is not TrialState.COMPLETE]
    axes.add_collection(LineCollection(others, colors=GREY, linewidths=thin, alpha=0.45))
    handles = [Line2D([], [], color=GREY, linewidth=1.1, label=f"not complete ({len(others)})")] if others else []
    for cell, look in story.looks.items():
        lines = [curves[each.number] for each in shown if is_of(story, each, cell)]
        axes.add_collection(LineCollection(lines, colors=look.color, linewidths=thin, linestyles=[look.dashes]))
        if lines:
            name = f"{cell or 'complete'} ({len(lines)})"
            handles.append(Line2D([], [], color=look.color, linestyle=look.dashes, label=name))
    if story.seen.best is not None:
        best = curves[story.seen.best.number]
        (line,) = axes.plot(*zip(*best, strict=True), color=INK, linewidth=2.2, marker="o", markersize=3)
        line.set(label=f"best: trial {story.seen.best.number}", markevery=max(len(best) // 12, 1))
        handles.append(line)
    axes.autoscale_view()
    story.set_limits(axes, [value for points in curves.values() for _, value in points])
    axes.set(xlabel="sequence steps", ylabel=story.report.metric)
    axes.legend(handles=handles, loc="upper right" if sign(story.seen) > 0 else "lower right")
    grid(axes)
    return figure


def points_of(trial: TrialRecord, metric: str) -> list[tuple[int, float]]:
    """Return a trial's values by sequence step."""
    return [(each.sequence_steps, each.metrics[metric]) for each in trial.evaluations if metric in each.metrics]


def is_of(story: Story, trial: TrialRecord, cell: str) -> bool:
    """Tell whether a trial is complete and has the cell type."""
    return trial.state is TrialState.COMPLETE and story.cells.get(trial.number, "") == cell


def parallel_coordinates(story: Story) -> Figure | None:
    """Draw each complete trial as a line through its setting, the better the stronger (Optuna's plot)."""
    names = story.differing[:MOST_AXES]
    if len(story.values) < 2 or not names:
        return None
    from matplotlib.colors import LinearSegmentedColormap
    from optuna.visualization.matplotlib import plot_parallel_coordinate

    low, high = story.limits(list(story.values.values()), margin=0.0)
    with quietly(), borrowing():
        axes = plot_parallel_coordinate(
            story.study,
            params=names,
            target=lambda trial: min(max(trial.values[0], low), high),
            target_name=story.report.metric,
        )
    figure = taken(axes)
    figure.set_size_inches(max(5.4, 1.35 * (len(names) + 1)), 3.8)
    axes.set_title("")
    weak, strong = (0.84, 0.37, 0.0, 0.10), (0.84, 0.37, 0.0, 1.0)
    ends = [strong, weak] if sign(story.seen) > 0 else [weak, strong]
    lines = axes.collections[0]
    lines.set(cmap=LinearSegmentedColormap.from_list("quality", ends), linewidth=1.3)
    for each in figure.axes:
        each.grid(visible=False)
    return figure
