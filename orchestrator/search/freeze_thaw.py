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

from orchestrator.search.gaussian import Floats, covariance

PRIOR_DRAWS, STEPS, KEPT = 24, 72, 4
"""Draws from the prior, the likeliest of which begins a random walk of so many steps, and what is kept of these."""
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


@dataclass(frozen=True, slots=True)
class Observed:
    """Values of curves: for each its setting's point, its age (1 at the first evaluation, 0 at the last), and whose."""

    points: Floats
    ages: Floats
    values: Floats
    owners: NDArray[np.int_]

    def those_of(self, owners: Sequence[int]) -> Observed:
        """Return the values of some curves."""
        here = np.isin(self.owners, owners)
        return Observed(self.points[here], self.ages[here], self.values[here], self.owners[here])

    def log_likelihood(self, drawn: Floats) -> float:
        """Return how likely the values are, but for a constant; -infinity where it cannot be computed."""
        try:
            half = np.linalg.cholesky(self.covariance(drawn))
        except np.linalg.LinAlgError:
            return -math.inf
        pulled = np.linalg.solve(half, self.values)
        return float(-0.5 * pulled @ pulled - np.log(np.diag(half)).sum())

    def covariance(self, drawn: Floats) -> Floats:
        """Return the covariance of the values, noise included."""
        found = between(drawn, self, self)
        found[np.diag_indices_from(found)] += np.exp(drawn[-1]) + JITTER
        return found


def between(drawn: Floats, first: Observed, second: Observed) -> Floats:
    """Return the covariance of two sets of values without noise; a negative owner has nothing of its own."""
    dimensions = first.points.shape[1]
    lengths, variances = np.exp(drawn[:dimensions]), np.exp(drawn[dimensions:])
    ages = first.ages, second.ages
    same = (first.owners[:, None] == second.owners[None, :]) & (first.owners[:, None] >= 0)
    alike = covariance(first.points, second.points, lengths) * over_time(*ages, *variances[:4])
    return np.asarray(alike + over_time(*ages, *COMMON) + same * over_time(*ages, *variances[4:8]))


def over_time(first: Floats, second: Floats, level: float, start: float, end: float, wiggle: float) -> Floats:
    """Return the covariance over ages: of a line, given by what it varies in, and of deviations (Matérn 3/2)."""
    distance = np.abs(first[:, None] - second[None, :]) / WIGGLE
    line = level + start * np.outer(first, second) + end * np.outer(1 - first, 1 - second)
    return np.asarray(line + wiggle * (1 + distance) * np.exp(-distance))


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw of hyperparameters with what follows from it."""

    drawn: Floats
    half: Floats
    """Of the observations' covariance (Cholesky)."""
    pulled: Floats
    """The observations, divided by it."""

    @classmethod
    def of(cls, drawn: Floats, observed: Observed) -> Draw:
        """Compute it."""
        half = np.asarray(np.linalg.cholesky(observed.covariance(drawn)), dtype=float)
        return cls(drawn, half, np.asarray(np.linalg.solve(half, observed.values)))

    def at(self, observed: Observed, asked: Observed) -> tuple[Floats, Floats]:
        """Return mean and variance of values at age 0."""
        seen = np.linalg.solve(self.half, between(self.drawn, observed, asked))
        variances = np.exp(self.drawn[asked.points.shape[1] :])
        own = (asked.owners >= 0) * (variances[4] + variances[6] + variances[7] + variances[8])
        before = variances[0] + variances[2] + variances[3] + COMMON[0] + COMMON[2] + COMMON[3] + own
        return seen.T @ self.pulled, np.maximum(before - (seen**2).sum(0), 1e-9)


@dataclass(frozen=True, slots=True)
class FreezeThaw:
    """What is expected after some curves."""

    observed: Observed
    draws: list[Draw]
    centre: float
    size: float
    """Of the values as they were: their mean and deviation."""

    def ends(self, points: Floats, owners: Sequence[int]) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the last values of trials at these points; of a new one, owner -1."""
        asked = last_values(points, owners)
        found = [draw.at(self.observed, asked) for draw in self.draws]
        mean = np.mean([mean for mean, _ in found], axis=0)
        square = np.mean([variance + mean**2 for mean, variance in found], axis=0)
        return self.centre + self.size * mean, self.size * np.sqrt(np.maximum(square - mean**2, 1e-12))

    def gains(self, points: Floats, tried: Floats) -> list[tuple[Floats, Floats]]:
        """Return under each draw by how much new trials are expected to be better than the best setting tried."""
        found = []
        for draw in self.draws:
            best = draw.at(self.observed, last_values(tried, [-1] * len(tried)))[0].min()
            mean, variance = draw.at(self.observed, last_values(points, [-1] * len(points)))
            found.append((self.size * (best - mean), self.size * np.sqrt(variance)))
        return found

    def having_begun(self, points: Floats) -> FreezeThaw:
        """Return the process with trials under way whose last values are taken to be as expected."""
        if not len(points):
            return self
        expected = (self.ends(points, [-1] * len(points))[0] - self.centre) / self.size
        asked, seen = last_values(points, [-1] * len(points)), self.observed
        observed = Observed(
            np.vstack([seen.points, points]),
            np.append(seen.ages, asked.ages),
            np.append(seen.values, expected),
            np.append(seen.owners, asked.owners),
        )
        draws = [Draw.of(draw.drawn, observed) for draw in self.draws]
        return FreezeThaw(observed, draws, self.centre, self.size)


def last_values(points: Floats, owners: Sequence[int]) -> Observed:
    """Return where trials end, with no values yet."""
    return Observed(points, np.zeros(len(points)), np.zeros(len(points)), np.array(owners, dtype=int))


def observe(
    curves: Sequence[Sequence[float]], points: Floats, evaluations: int, random: np.random.Generator
) -> FreezeThaw:
    """Return the process after curves of at least one value each; `points` (curves, dimensions) are their settings'."""
    rows: list[tuple[int, int]] = []
    for owner, curve in enumerate(curves):
        # Between its first values and its last one a curve tells little more; and the time is cubic in their number.
        reached = len(curve)
        rows += [(owner, at) for at in sorted({*(2**power for power in range(reached.bit_length())), reached})]
    owners = np.array([owner for owner, _ in rows])
    values = np.array([curves[owner][at - 1] for owner, at in rows])
    whole = math.log(evaluations) or 1.0
    ages = np.array([1 - math.log(at) / whole if evaluations > 1 else 0.0 for _, at in rows])
    centre, size = float(values.mean()), float(values.std()) or 1.0
    observed = Observed(points[owners], ages, (values - centre) / size, owners)
    telling = sorted(range(len(curves)), key=lambda owner: -len(curves[owner]))[:TELLING]
    drawn = draws_of(observed.those_of(telling), random)
    return FreezeThaw(observed, [Draw.of(each, observed) for each in drawn], centre, size)


def draws_of(observed: Observed, random: np.random.Generator) -> list[Floats]:
    """Return hyperparameters about as likely as they are by what was observed."""
    dimensions = observed.points.shape[1]
    prior = np.vstack([np.tile(PRIOR_LENGTH, (dimensions, 1)), PRIOR])

    def log_posterior(drawn: Floats) -> float:
        return observed.log_likelihood(drawn) - 0.5 * float((((drawn - prior[:, 0]) / prior[:, 1]) ** 2).sum())

    first = [random.normal(prior[:, 0], prior[:, 1]) for _ in range(PRIOR_DRAWS)]
    likely = [log_posterior(drawn) for drawn in first]
    now, value = first[int(np.argmax(likely))], max(likely)
    walk = []
    for step in range(STEPS):
        moves = random.random(len(now)) < 0.35
        wide = 1.0 if step % 3 == 0 else 0.35
        asked = now + wide * moves * random.normal(size=len(now))
        proposed = log_posterior(asked)
        # Up in its first half, to where it is likely at all; a fair walk after it.
        if proposed > value or (step >= STEPS // 2 and math.log(random.random()) < proposed - value):
            now, value = asked, proposed
        walk.append(now)
    return walk[STEPS // 2 + STEPS // 2 // KEPT - 1 :: STEPS // 2 // KEPT][:KEPT]


def by_ratio(curves: Sequence[Sequence[float]]) -> Sequence[Sequence[float]]:
    """Return the logarithms of values none of which is below 0, as of losses and error rates that are minimised.

    Where they span powers of ten, all good ones would be alike beside the bad ones. A 0 is as good as the least other.
    """
    values = [value for curve in curves for value in curve]
    least = min((value for value in values if value > 0), default=0.0)
    if min(values) < 0 or not least:
        return curves
    return [[math.log(max(value, least)) for value in curve] for curve in curves]
