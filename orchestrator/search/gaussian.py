"""A Gaussian process in a few lines: what is expected at settings not yet tried, from those tried, and how surely.

Its hyperparameters are not fitted but averaged over: a few dozen drawn from a prior, weighted by how likely they make
what was observed (Snoek, Larochelle and Adams, 2012, "Practical Bayesian optimization of machine learning algorithms",
integrate them out too). Nothing is to be remembered from one question to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS, KEPT, LEAST_WEIGHT = 48, 6, 0.02
"""Draws of hyperparameters, how many of them count at most, and how likely one must be beside the likeliest."""
NOISE = 0.01
"""Variance that every observation has at least, where all together have 1."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw of hyperparameters with what follows from it."""

    weight: float
    lengths: Floats
    inverse: Floats
    """Of the observations' covariance."""
    pull: Floats
    """The inverse times the observations."""

    def at(self, tried: Floats, asked: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation at the settings asked."""
        kernel = covariance(asked, tried, self.lengths)
        left = 1.0 - ((kernel @ self.inverse) * kernel).sum(1)
        return kernel @ self.pull, np.sqrt(np.maximum(left, 1e-9))


@dataclass(frozen=True, slots=True)
class Process:
    """What was observed, standardised: `tried` (settings, dimensions), each dimension from 0 to 1."""

    tried: Floats
    draws: list[Draw]

    def at(self, asked: Floats) -> list[tuple[float, Floats, Floats]]:
        """Return weight, mean and standard deviation at the settings asked under each draw."""
        return [(draw.weight, *draw.at(self.tried, asked)) for draw in self.draws]

    def mean(self, asked: Floats) -> Floats:
        """Return the mean over all draws."""
        return np.asarray(sum(weight * mean for weight, mean, _ in self.at(asked)))


def observe(tried: Floats, values: Floats, random: np.random.Generator) -> Process:
    """Return the process after values of mean 0, and of a variance of 1 or about that."""
    likely, found = [], []
    for _ in range(DRAWS):
        lengths = np.exp(random.normal(-0.3, 0.9, tried.shape[1]))
        noise = np.exp(random.normal(-4.5, 1.5))
        observed = covariance(tried, tried, lengths) + (NOISE + noise) * np.eye(len(tried))
        half = np.linalg.cholesky(observed)
        pulled = np.linalg.solve(half, values)
        likely.append(-0.5 * pulled @ pulled - np.log(np.diag(half)).sum())
        found.append((lengths, observed))
    weights = np.exp(np.array(likely) - max(likely))
    chosen = np.argsort(-weights, kind="stable")[:KEPT]
    chosen = chosen[weights[chosen] > LEAST_WEIGHT]
    total = weights[chosen].sum()
    draws = []
    for index in chosen:
        lengths, observed = found[index]
        inverse = np.linalg.inv(observed)
        draws.append(Draw(float(weights[index] / total), lengths, inverse, inverse @ values))
    return Process(tried, draws)


def covariance(first: Floats, second: Floats, lengths: Floats) -> Floats:
    """Return the Matérn 5/2 kernel between two sets of settings."""
    one, two = first / lengths, second / lengths
    squares = (one**2).sum(1)[:, None] + (two**2).sum(1)[None, :] - 2 * one @ two.T
    return matern(np.maximum(squares, 0.0))


def matern(squares: Floats) -> Floats:
    """Return the Matérn 5/2 kernel of squared distances."""
    distance = np.sqrt(5 * squares)
    return np.asarray((1 + distance + distance**2 / 3) * np.exp(-distance))
