"""Where learning curves will end: a Gaussian process over settings and evaluations together.

As in Swersky, Snoek and Adams (2014), "Freeze-thaw Bayesian optimization", what trials with like settings did later
tells what a trial that was paused early would do; so one that begins slowly is not taken for a bad one where others
like it ended well. Theirs are exponential decays to an end; here a curve is a line over the logarithm of evaluations
with smooth deviations from it, for which settings, the trial itself and the sweep as a whole each have a part.

Curves are of one metric, lower being better, on the sweep's common grid of evaluations. Those none of which is below 0
are compared by their ratio. Hyperparameters are not fitted but averaged over (Metropolis and others, 1953), and
everything is a function of the curves alone: nothing is to be remembered from one question to the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from orchestrator.search.gaussian import Floats, matern

CLIMB, STEPS, KEPT = 40, 48, 4
"""Steps up to the likeliest hyperparameters, those of a random walk from there, and how many places of it are kept."""
FURTHEST = 4.0
"""Deviations of the prior that the climb goes away from it at most."""
MOVED, STEP = 0.35, 0.35
"""The part of the hyperparameters that one step of it moves, and the deviation by which."""
REMEMBERED = 8
"""Draws kept in case the same curves are asked about again, as by pruner and sampler."""
TELLING = 32
"""Curves that hyperparameters are drawn by, those that came furthest."""
WIGGLE = 0.3
"""Length of the smooth deviations from a line, where the logarithm of evaluations goes from 0 to 1."""
COMMON = (1.0, 2.0, 0.5, 0.3)
"""Variances of the part that all curves share: level, start, end and deviations."""
PRIOR = np.array([(0.0, 0.7), (-0.5, 1.2), (-0.5, 1.2), (-2.5, 1.0), *[(-4.0, 1.2)] * 3, (-4.5, 1.2), (-4.5, 1.2)])
"""Mean and deviation of the logarithms of variances: the part of settings, a trial's own (four each), and noise."""
PRIOR_LENGTH = (-0.3, 0.9)
"""The same of the length over which settings are alike, for each dimension."""
JITTER = 1e-6
FAR = 4.0
"""Values that are so many times as far behind the middle as the best is before it are as bad as any."""
LARGEST = 1e100
"""Values beyond it are taken to be that: squares of them would be infinite."""
_DRAWN: dict[bytes, list[Floats]] = {}


@dataclass(frozen=True, slots=True)
class Places:
    """Where values are: their settings' points, their ages (1 at the first evaluation, 0 at the last), and whose.

    An owner of -1 is a trial of which nothing else is known, nor asked: the part that is its own is left out.
    """

    points: Floats
    ages: Floats
    owners: NDArray[np.int_]

    @classmethod
    def at_the_end(cls, points: Floats, owners: Sequence[int] | None = None) -> Places:
        """Return where trials end, new ones unless it is said whose they are."""
        return cls(points, np.zeros(len(points)), np.array(owners if owners is not None else [-1] * len(points)))

    def __len__(self) -> int:
        return len(self.points)

    def __add__(self, other: Places) -> Places:
        points = np.vstack([self.points, other.points])
        return Places(points, np.append(self.ages, other.ages), np.append(self.owners, other.owners))

    def only(self, chosen: NDArray[np.bool_]) -> Places:
        """Return some of them."""
        return Places(self.points[chosen], self.ages[chosen], self.owners[chosen])


class Pairs:
    """What the covariance of two sets of values depends on beside hyperparameters."""

    def __init__(self, first: Places, second: Places) -> None:
        self._squares = (first.points.T[:, :, None] - second.points.T[:, None, :]) ** 2
        one, two = first.ages[:, None], second.ages[None, :]
        distance = np.abs(one - two) / WIGGLE
        ones = np.ones((len(first), len(second)))
        self._over_time = np.stack([ones, one * two, (1 - one) * (1 - two), (1 + distance) * np.exp(-distance)])
        self._common = np.tensordot(COMMON, self._over_time, 1)
        self._same = (first.owners[:, None] == second.owners[None, :]) & (first.owners[:, None] >= 0)

    def covariance(self, drawn: Floats) -> Floats:
        """Return it, without noise."""
        lengths, variances = np.split(drawn, [len(self._squares)])
        alike = matern(np.tensordot(np.exp(-2 * lengths), self._squares, 1))
        of_settings, own = np.exp(variances[:4]), np.exp(variances[4:8])
        found = alike * np.tensordot(of_settings, self._over_time, 1) + self._common
        found[self._same] += own @ self._over_time[:, self._same]
        return np.asarray(found)

    def slope(self, draw: Draw) -> Floats:
        """Return the slope of the likelihood of what was observed; both sets of places are those of it."""
        inverse = solve(draw.half, np.eye(len(draw.half)))
        pulled = inverse.T @ draw.pulled
        weight = 0.5 * (np.outer(pulled, pulled) - inverse.T @ inverse)
        lengths, variances = np.split(draw.drawn, [len(self._squares)])
        scaled = np.exp(-2 * lengths)
        squares = np.tensordot(scaled, self._squares, 1)
        distance = np.sqrt(5 * squares)
        over_time = np.tensordot(np.exp(variances[:4]), self._over_time, 1)
        by_distance = weight * over_time * (1 + distance) * np.exp(-distance) * 5 / 3
        return np.concatenate(
            [
                scaled * np.tensordot(self._squares, by_distance, 2),
                np.exp(variances[:4]) * np.tensordot(self._over_time, weight * matern(squares), 2),
                np.exp(variances[4:8]) * (self._over_time[:, self._same] @ weight[self._same]),
                [np.exp(variances[8]) * np.trace(weight)],
            ]
        )


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw of hyperparameters with what follows from it."""

    drawn: Floats
    half: Floats
    """Of the observations' covariance (Cholesky)."""
    pulled: Floats
    """The observations, divided by it."""

    @classmethod
    def of(cls, drawn: Floats, pairs: Pairs, values: Floats) -> Draw:
        """Compute it; numpy.linalg.LinAlgError where that cannot be done."""
        found = pairs.covariance(drawn)
        found[np.diag_indices_from(found)] += np.exp(drawn[-1]) + JITTER
        half = np.asarray(np.linalg.cholesky(found), dtype=float)
        return cls(drawn, half, solve(half, values))

    @property
    def log_likelihood(self) -> float:
        """Return how likely the observations are, but for a constant."""
        return float(-0.5 * self.pulled @ self.pulled - np.log(np.diag(self.half)).sum())

    def at(self, pairs: Pairs, asked: Places) -> tuple[Floats, Floats]:
        """Return mean and variance of last values; the pairs are of what was observed and what is asked."""
        known = solve(self.half, pairs.covariance(self.drawn))
        variances = np.exp(self.drawn[asked.points.shape[1] :])
        level, _, end, wiggle, *own, noise = variances
        before = level + end + wiggle + COMMON[0] + COMMON[2] + COMMON[3]
        before += (asked.owners >= 0) * (own[0] + own[2] + own[3] + noise)
        return known.T @ self.pulled, np.maximum(before - (known**2).sum(0), 1e-9)


@dataclass(frozen=True, slots=True)
class FreezeThaw:
    """What is expected after some curves."""

    places: Places
    values: Floats
    draws: list[Draw]
    centre: float
    size: float
    """Of the values as they were: what was taken from them, and what they were divided by."""

    def ends(self, points: Floats, owners: Sequence[int]) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the last values of trials, whose points these are."""
        return self._expected(Places.at_the_end(points, owners))

    def _expected(self, asked: Places) -> tuple[Floats, Floats]:
        pairs = Pairs(self.places, asked)
        found = [draw.at(pairs, asked) for draw in self.draws]
        mean = np.mean([mean for mean, _ in found], axis=0)
        square = np.mean([variance + mean**2 for mean, variance in found], axis=0)
        return self.centre + self.size * mean, self.size * np.sqrt(np.maximum(square - mean**2, 1e-12))

    def gains(self, points: Floats, tried: Floats) -> list[tuple[Floats, Floats]]:
        """Return under each draw by how much new trials are expected to be better than the best setting tried."""
        asked = Places.at_the_end(np.vstack([tried, points]))
        pairs, found = Pairs(self.places, asked), []
        for draw in self.draws:
            mean, variance = draw.at(pairs, asked)
            best, new = mean[: len(tried)].min(), slice(len(tried), None)
            found.append((self.size * (best - mean[new]), self.size * np.sqrt(variance[new])))
        return found

    def having_begun(self, points: Floats) -> FreezeThaw:
        """Return the process with trials under way, whose last values are taken to be as expected.

        Hyperparameters stay. They are believed more than what was trained, for no part of them is a trial's own: near
        them less is to be gained, so that workers don't try the same thing twice.
        """
        if not len(points):
            return self
        begun = Places.at_the_end(points)
        expected, _ = self._expected(begun)
        places = self.places + begun
        values = np.append(self.values, (expected - self.centre) / self.size)
        pairs = Pairs(places, places)
        draws = [Draw.of(draw.drawn, pairs, values) for draw in self.draws]
        return FreezeThaw(places, values, draws, self.centre, self.size)


def observe(curves: Sequence[Sequence[float]], points: Floats, evaluations: int) -> FreezeThaw:
    """Return the process after curves of at least one value each; `points` (curves, dimensions) are their settings'."""
    # Between a curve's first values and its last one there is little to learn, and the time is cubic in the values.
    looked_at = {2**power for power in range(evaluations.bit_length())} | {evaluations}
    rows = [
        (owner, at)
        for owner, curve in enumerate(curves)
        for at in range(1, len(curve) + 1)
        if at in looked_at or at == len(curve)
    ]
    owners = np.array([owner for owner, _ in rows])
    reached = np.array([at for _, at in rows])
    values = np.clip([curves[owner][at - 1] for owner, at in rows], -LARGEST, LARGEST)
    places = Places(points[owners], np.log(evaluations / reached) / math.log(max(evaluations, 2)), owners)
    furthest = sorted(range(len(curves)), key=lambda owner: -len(curves[owner]))[:TELLING]
    telling = np.isin(owners, furthest) & np.isin(reached, sorted(looked_at))
    centre = float(values[telling].mean())
    # Where those are all the same, but for rounding, others tell of the size; else any is right.
    rounding = 4 * np.finfo(float).eps
    sizes = (float(some.std()) for some in (values[telling], values) if some.std() > rounding * np.abs(some).max())
    size = next(sizes, 1.0)
    values = (values - centre) / size
    drawn = draws_of(places.only(telling), values[telling])
    pairs = Pairs(places, places)
    return FreezeThaw(places, values, [Draw.of(each, pairs, values) for each in drawn], centre, size)


def draws_of(places: Places, values: Floats) -> list[Floats]:
    """Return hyperparameters about as often as they are likely by what was observed; the same ones if asked again."""
    key = b"".join(part.tobytes() for part in (places.points, places.ages, places.owners, values))
    if key not in _DRAWN:
        if len(_DRAWN) >= REMEMBERED:
            del _DRAWN[next(iter(_DRAWN))]
        _DRAWN[key] = _walk(places, values)
    return _DRAWN[key]


def _walk(places: Places, values: Floats) -> list[Floats]:
    """Climb to the likeliest hyperparameters, and walk about there."""
    pairs, random = Pairs(places, places), np.random.default_rng(0)
    prior = np.vstack([np.tile(PRIOR_LENGTH, (places.points.shape[1], 1)), PRIOR])

    def unlikely(draw: Draw) -> float:
        away = (draw.drawn - prior[:, 0]) / prior[:, 1]
        return 0.5 * float(away @ away) - draw.log_likelihood

    def falling(drawn: Floats) -> tuple[float, Floats]:
        draw = Draw.of(drawn, pairs, values)
        return unlikely(draw), (drawn - prior[:, 0]) / prior[:, 1] ** 2 - pairs.slope(draw)

    bounds = np.stack([prior[:, 0] - FURTHEST * prior[:, 1], prior[:, 0] + FURTHEST * prior[:, 1]], axis=1)
    climbed = minimize(falling, prior[:, 0], jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": CLIMB})
    now = climbed.x
    value, walk = float(climbed.fun), []
    for _ in range(STEPS):
        asked = now + STEP * (random.random(len(now)) < MOVED) * random.normal(size=len(now))
        proposed = unlikely(Draw.of(asked, pairs, values))
        if random.random() < math.exp(min(value - proposed, 0.0)):
            now, value = asked, proposed
        walk.append(now)
    return walk[:: -(STEPS // KEPT)][:KEPT]


def solve(half: Floats, values: Floats) -> Floats:
    """Return values divided by a lower triangle."""
    return np.asarray(solve_triangular(half, values, lower=True, check_finite=False))


def comparable(curves: Sequence[Sequence[float]]) -> tuple[list[list[float]], bool]:
    """Return values as they are compared, and whether these are their logarithms.

    They are where no value is below 0, as of losses and error rates that are minimised: where they span powers of ten,
    all good ones would be alike beside the bad ones. A 0 is as good as the least other. Others are cut off where they
    are far worse than the middle: how bad a bad one is does not matter.
    """
    values = [value for curve in curves for value in curve]
    least = min((value for value in values if value > 0), default=0.0)
    if min(values) >= 0 and least:
        return [[math.log(max(value, least)) for value in curve] for curve in curves], True
    middle, best = float(np.median(values)), min(values)
    most = middle + FAR * (middle - best) if middle > best else max(values)
    return [[min(value, most) for value in curve] for curve in curves], False
