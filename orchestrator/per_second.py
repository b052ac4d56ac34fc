"""Expected improvement per second: `search.sampler: per_second`.

A Gaussian process expects a last value of every setting, from the forecasts of all trials' curves
(`orchestrator/extrapolation.py`), and another one the seconds of an evaluation; the setting is taken whose expected
improvement in a second of training is the greatest (Snoek, Larochelle and Adams, 2012, section 3.2). A long truncation
or a large network is tried where it promises to earn its time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler

from orchestrator.extrapolation import ends
from orchestrator.gaussian import Floats, observe

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

FIRST = 6
"""Trials drawn at random before."""
MOST = 150
"""Trials looked at, the last ones."""
SCATTERED, NEAR = 500, 250
"""Settings compared: drawn from all of the space, and near the best tried."""


class PerSecondSampler(BaseSampler):
    """Chooses settings by their expected improvement per second."""

    def __init__(
        self, seed: int, space: Mapping[str, BaseDistribution], *, evaluations: int, seconds: Mapping[int, float]
    ) -> None:
        self.space, self.evaluations, self.seconds = space, evaluations, seconds
        self._random = np.random.default_rng(seed)
        self._independent = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the whole space; what does not exist beside the other values is not asked for."""
        return dict(self.space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw at random."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the most promising of many settings; nothing, to be drawn at random, while few trials were made."""
        sign = -1.0 if study.directions[0].name == "MAXIMIZE" else 1.0
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number][-MOST:]
        seen = [other for other in others if curve_of(other, sign)]
        if len(seen) < FIRST:
            return {}
        means, deviations = ends([curve_of(other, sign) for other in seen], self.evaluations)
        tried = np.array([self.place(other.params) for other in seen])
        asked = self.candidates(tried[np.argsort(means)[:5]])
        waiting = [
            self.place(o.params) for o in others if o.state.name == "RUNNING" and not curve_of(o, sign) and o.params
        ]
        value = self.improvement(tried, means, deviations, asked, waiting)
        chosen = asked[int(np.argmax(np.log(np.maximum(value, 1e-300)) - self.log_seconds(seen, tried, asked)))]
        return self.setting(chosen)

    def improvement(
        self, tried: Floats, means: Floats, deviations: Floats, asked: Floats, waiting: list[Floats]
    ) -> Floats:
        """Return the expected improvement on the best mean at each setting asked."""
        low, middle = float(means.min()), float(np.median(means))
        most = middle + 2 * (middle - low)  # how bad a bad setting is, does not matter
        values = np.minimum(means, most)
        size = float(values.std()) or 1.0
        centre = float(values.mean())
        values, variances = (values - centre) / size, np.minimum(deviations / size, 1.0) ** 2
        random = np.random.default_rng(self._random.integers(2**32))
        if waiting:
            process = observe(tried, values, variances, np.random.default_rng(0))
            places = np.array(waiting)
            tried = np.vstack([tried, places])
            values, variances = np.append(values, process.mean(places)), np.append(variances, np.zeros(len(places)))
        process = observe(tried, values, variances, random)
        best = float(process.mean(tried).min())
        total = np.zeros(len(asked))
        for weight, mean, deviation in process.at(asked):
            total += weight * expected_improvement(best - mean, deviation)
        return total

    def log_seconds(self, seen: Sequence[FrozenTrial], tried: Floats, asked: Floats) -> Floats:
        """Return the logarithm of the seconds predicted for each setting asked; zeros where none are known."""
        known = [index for index, trial in enumerate(seen) if self.seconds.get(trial.number, 0.0) > 0]
        if len(known) < FIRST:
            return np.zeros(len(asked))
        logs = np.log([self.seconds[seen[index].number] for index in known])
        size, centre = float(logs.std()) or 1.0, float(logs.mean())
        process = observe(tried[known], (logs - centre) / size, np.full(len(known), 0.01), np.random.default_rng(0))
        return centre + size * process.mean(asked)

    def candidates(self, best: Floats) -> Floats:
        """Return settings to compare, in places."""
        drawn = self._random.random((SCATTERED, len(self.space)))
        near = best[self._random.integers(len(best), size=NEAR)][:, : best.shape[1]]
        scattered = np.array([self.place(self._setting(row)) for row in drawn])
        width = 0.15 * self._random.random((NEAR, 1))
        moved = near + width * self._random.normal(size=near.shape)
        moved = np.array([self.place(self.setting(row)) for row in moved])
        return np.vstack([scattered, moved])

    def _setting(self, row: Floats) -> dict[str, Any]:
        return {
            name: pick(distribution, float(place))
            for (name, distribution), place in zip(self.space.items(), row, strict=True)
        }

    def place(self, setting: Mapping[str, Any]) -> Floats:
        """Return a setting as a point: a range from 0 to 1, a choice as one of several; what does not exist halfway."""
        parts: list[float] = []
        for name, distribution in self.space.items():
            if isinstance(distribution, CategoricalDistribution):
                parts += [float(name in setting and setting[name] == choice) for choice in distribution.choices]
            else:
                parts.append(along(distribution, setting[name]) if name in setting else 0.5)
        return np.array(parts)

    def setting(self, place: Floats) -> dict[str, Any]:
        """Return the setting at a point, or the one nearest to it."""
        found, at = {}, 0
        for name, distribution in self.space.items():
            if isinstance(distribution, CategoricalDistribution):
                width = len(distribution.choices)
                found[name] = distribution.choices[int(np.argmax(place[at : at + width]))]
                at += width
            else:
                found[name] = pick(distribution, float(place[at]))
                at += 1
        return found


def curve_of(trial: FrozenTrial, sign: float) -> list[float]:
    """Return a trial's values so far, lower being better; none where one is missing or no number."""
    values = [sign * trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
    return values if all(map(math.isfinite, values)) else []


def expected_improvement(gain: Floats, deviation: Floats) -> Floats:
    """Return what a normal value gains over the best, on average, where losses count as none."""
    z = gain / deviation
    below = 0.5 * np.array([math.erfc(-each / math.sqrt(2)) for each in z])
    return np.asarray(gain * below + deviation * np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi))


def along(distribution: BaseDistribution, value: float) -> float:
    """Return where a value lies in its range, from 0 to 1."""
    low, high = scaled(distribution)
    at = math.log(value) if distribution.log else value  # type: ignore[attr-defined]
    return (at - low) / (high - low) if high > low else 0.5


def pick(distribution: BaseDistribution, place: float) -> Any:
    """Return the value at a place from 0 to 1."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(place * len(distribution.choices)), len(distribution.choices) - 1)]
    low, high = scaled(distribution)
    at = low + min(max(place, 0.0), 1.0) * (high - low)
    value = math.exp(at) if distribution.log else at  # type: ignore[attr-defined]
    first, last, step = distribution.low, distribution.high, distribution.step  # type: ignore[attr-defined]
    if step is not None:
        value = first + round((value - first) / step) * step
    value = min(max(value, first), last)
    return int(value) if isinstance(distribution, IntDistribution) else float(value)


def scaled(distribution: BaseDistribution) -> tuple[float, float]:
    """Return the ends of a range on its scale."""
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    ends_ = distribution.low, distribution.high
    return (math.log(ends_[0]), math.log(ends_[1])) if distribution.log else ends_
