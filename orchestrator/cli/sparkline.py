"""A row of values as a row of bars, one character each."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.cli.fitting import can_show
from orchestrator.trial import TrialRecord, TrialState

BARS, PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.-=*#"
"""From the least to the greatest; the second for terminals that show nothing but ASCII."""


def sparkline(values: Sequence[float], *, width: int, encoding: str = "utf-8") -> str:
    """Draw the last `width` values, the lowest of them as the lowest bar; one value alone, or none, draws nothing."""
    shown = values[-width:]
    if len(shown) < 2:
        return ""
    bars = BARS if can_show(BARS, encoding) else PLAIN_BARS
    least, most = min(shown), max(shown)
    top = len(bars) - 1
    return "".join(bars[round((value - least) / (most - least) * top) if most > least else 0] for value in shown)


def best_so_far(trials: Sequence[TrialRecord], metric: str, direction: str | None) -> list[float]:
    """Return the best value after each trial that was complete, in the order in which they ended."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    choose = max if direction == "maximize" else min
    best: list[float] = []
    for trial in sorted(complete, key=lambda trial: trial.ended or 0.0):
        value = trial.value(metric)
        if value is not None:
            best.append(choose(best[-1], value) if best else value)
    return best
