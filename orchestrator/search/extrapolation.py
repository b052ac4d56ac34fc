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

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TRUST = 2.0
"""Trials that the prior counts for."""
NOISE = 0.5
"""Standard deviation of a change before anything is known, as a part of the spread between trials there."""
FEW = 4.0
"""What is learnt from so many trials is half as sure: one curve's changes go together, and may be its own alone."""
NEIGHBOURS = 3
"""Trials that are looked at even where none is near."""


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
        known = ~np.isnan(table[:, at + 1])
        now, after = table[known, at], table[known, at + 1]
        change, of_change = changes(mean[~known], now, after - now, prior=(NOISE * scale / (at + 2)) ** 2)
        mean[~known] += change
        variance[~known] += of_change
        mean[known], variance[known] = after, 0.0
    return mean, np.sqrt(variance)


def changes(asked: Floats, values: Floats, seen: Floats, *, prior: float) -> tuple[Floats, Floats]:
    """Return how much curves at the values asked will change to the next evaluation, and the variances of that.

    `seen` are the changes of other trials from their `values`; those that were near count most.
    """
    if not len(values):
        return np.zeros(len(asked)), np.full(len(asked), prior)
    distance = np.abs(asked[:, None] - values[None, :])
    typical = float(np.median(np.abs(values - np.median(values)))) + np.sqrt(prior)
    third = np.sort(distance, axis=1)[:, :NEIGHBOURS][:, -1:]
    reach = np.maximum(typical, third)
    weight = np.where(reach > 0, np.exp(-distance / np.where(reach > 0, reach, 1.0)), 1.0)
    total = weight.sum(1)
    mean = weight @ seen / total
    squares = (weight * (seen[None, :] - mean[:, None]) ** 2).sum(1)
    return mean, (TRUST * prior + squares) / (TRUST + total) * (1 + FEW / total)


def spread(values: Floats) -> float:
    """Return half of what the middle 68 % of values span: their standard deviation, if they are normal."""
    low, high = np.quantile(values, [0.16, 0.84])
    return float(high - low) / 2
