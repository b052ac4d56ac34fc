"""Where learning curves will end: a forecast of each trial's last value, with its uncertainty, from all curves so far.

Values are those of one metric, oriented so that lower is better, on the sweep's common grid of evaluations. The change
from each evaluation to the next is regressed on the value, over the trials that went on there, those in front first of
all. Curves that were cut short are missing at random, given what was seen of them, so that regressions one after
another are their maximum likelihood (Little and Rubin, Statistical Analysis with Missing Data, chapter 7). Where few or
none have been, a prior stands in: a curve stays where it is, give or take a part of the spread between trials.

A slope of each curve's own was tried beside its value, and so was a power law: on recorded curves both forecast worse
than this until dozens of trials had come to the end, for two evaluations differ more by chance than by the trend.

Multiplying all values by a positive number, or adding one to all, does the same to the forecasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TRUST = 2.0
"""Trials that the prior counts for."""
NOISE = 0.5
"""Standard deviation of a change before anything is known, as a part of the spread between trials there."""
FEW = 4.0
"""What is learnt from so many trials is half as sure: one curve's changes go together, and may be its own alone."""
CONVERGENCE = 5.0
"""Trials that the prior counts for in that curves neither come together nor part."""


@dataclass(frozen=True, slots=True)
class Step:
    """How values change from one evaluation to the next: by `change` at the value `centre`, and by chance."""

    centre: float
    change: float
    of_value: float
    variance: float


def ends(curves: Sequence[Sequence[float]], evaluations: int) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of every curve's value at the last evaluation.

    Curves have at least one value, all finite, and at most `evaluations`; one that came to the end is known exactly.
    """
    table = np.full((len(curves), evaluations), np.nan)
    for row, curve in zip(table, curves, strict=True):
        row[: len(curve)] = curve
    scale = spread(table[:, 0])
    mean, variance = table[:, 0].copy(), np.zeros(len(curves))
    for at in range(evaluations - 1):
        step = learn(table[:, at], table[:, at + 1], scale / (at + 2))
        mean = mean + step.change + step.of_value * (mean - step.centre)
        variance = (1 + step.of_value) ** 2 * variance + step.variance
        known = ~np.isnan(table[:, at + 1])
        mean[known], variance[known] = table[known, at + 1], 0.0
    return mean, np.sqrt(variance)


def learn(now: Floats, after: Floats, scale: float) -> Step:
    """Return how values change from one evaluation to the next; `scale` is the spread between trials to be expected."""
    there = ~np.isnan(after)
    prior = (NOISE * scale) ** 2
    if not there.any():
        return Step(0.0, 0.0, 0.0, prior)
    now, change = now[there], after[there] - now[there]
    weight = nearness(now)
    total = weight.sum()
    centre, mean = weight @ now / total, weight @ change / total
    aside = now - centre
    resistance = CONVERGENCE * max(scale**2, float(weight @ aside**2) / total)
    of_value = float(weight @ (aside * (change - mean))) / (weight @ aside**2 + resistance) if resistance else 0.0
    of_value = max(of_value, -1.0)  # curves may meet, and do not change places
    residuals = change - mean - of_value * aside
    variance = (TRUST * prior + weight @ residuals**2) / (TRUST + total) * (1 + FEW / total)
    return Step(float(centre), float(mean), of_value, float(variance))


def nearness(values: Floats) -> Floats:
    """Return weights up to 1: a curve far behind the best says less of how those in front go on."""
    distance = values - values.min()
    typical = float(np.median(distance))
    return np.exp(-distance / (2 * typical)) if typical > 0 else np.ones(len(values))


def spread(values: Floats) -> float:
    """Return half of what the middle 68 % of values span: their standard deviation, if they are normal."""
    low, high = np.quantile(values, [0.16, 0.84])
    return float(high - low) / 2
