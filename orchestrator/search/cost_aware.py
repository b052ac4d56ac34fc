"""Improvement that is worth its time: `search.sampler: cost_aware`.

A Gaussian process expects a last value of every setting, from the forecasts of all trials' curves
(`extrapolation.py`), and another one its seconds, from those measured. The setting is taken whose expected
improvement is the greatest for the square root of its seconds: a long truncation or a large network is tried where it
promises to earn its time. Snoek, Larochelle and Adams (2012), "Practical Bayesian optimization of machine learning
algorithms", divide by the seconds themselves. On recorded curves that stayed too long with what is cheap and not good,
as Lee, Perrone, Archambeau and Seeger (2020), "Cost-aware Bayesian optimization", found too.

Losses are compared by their ratio. The pruner `curves` forecasts them as they are: by their ratio it paused too many.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.samplers import BaseSampler, RandomSampler

from orchestrator.search.extrapolation import ends
from orchestrator.search.gaussian import Process, observe
from orchestrator.search.points import Floats, Points
from orchestrator.search.seen import VERDICT

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

COST_POWER = 0.5
"""Of the seconds that an improvement is divided by."""
FIRST = 6
"""Trials drawn at random before."""
MOST = 150
"""Trials looked at, the last ones."""
SCATTERED, NEAR, WIDTH = 300, 200, 0.2
"""Settings compared: drawn from all of the space, and near the best tried, so far around them at most."""


class CostAwareSampler(BaseSampler):
    """Chooses settings by expected improvement and cost; `seconds` are those of an evaluation, by trial."""

    def __init__(
        self, seed: int, space: Mapping[str, BaseDistribution], *, evaluations: int, seconds: Mapping[int, float]
    ) -> None:
        self._space, self._evaluations, self._seconds = space, evaluations, seconds
        self._points = Points(space)
        self._random = np.random.default_rng(seed)
        self._independent = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the whole space; what does not exist beside the other values is not asked for."""
        return dict(self._space)

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
        others = [
            other
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number and other.params and other.state.name != "FAIL"
        ][-MOST:]
        seen = [other for other in others if curve_of(other, sign)]
        if len(seen) < FIRST:
            return {}
        tried = np.array([self._points.of(other.params) for other in seen])
        means, deviations = ends(by_ratio([curve_of(other, sign) for other in seen]), self._evaluations)
        asked = self._candidates(tried[np.argsort(means)[:5]])
        process = self._expected(others, seen, means, deviations)
        best = float(process.mean(tried).min())
        value = np.zeros(len(asked))
        for weight, mean, deviation in process.at(asked):
            value += weight * expected_improvement(best - mean, deviation)
        worth = np.log(np.maximum(value, 1e-300)) - COST_POWER * self._log_seconds(seen, tried, asked)
        return self._points.setting(asked[int(np.argmax(worth))])

    def _expected(
        self, others: Sequence[FrozenTrial], seen: Sequence[FrozenTrial], means: Floats, deviations: Floats
    ) -> Process:
        """Return the process of last values: what cannot be trained is as bad as the worst, what began as expected."""
        infeasible = [other for other in others if is_infeasible(other)]
        known = [index for index, other in enumerate(seen) if not is_infeasible(other)]
        if known:
            means, deviations = means[known], deviations[known]
            tried = [self._points.of(seen[index].params) for index in known]
        else:
            tried, infeasible = [self._points.of(other.params) for other in seen], []
        low, middle = float(means.min()), float(np.median(means))
        most = middle + 2 * (middle - low)  # how bad a bad setting is does not matter
        values = np.minimum(np.append(means, [most] * len(infeasible)), most)
        points = np.array([*tried, *(self._points.of(other.params) for other in infeasible)])
        size = float(values.std()) or 1.0
        variances = np.minimum(np.append(deviations, [0.0] * len(infeasible)) / size, 1.0) ** 2
        values = (values - values.mean()) / size
        process = observe(points, values, variances, self._random)
        begun = [self._points.of(o.params) for o in others if not o.state.is_finished() and not o.intermediate_values]
        if not begun:
            return process
        values = np.append(values, process.mean(np.array(begun)))
        return observe(np.vstack([points, begun]), values, np.append(variances, [0.0] * len(begun)), self._random)

    def _log_seconds(self, seen: Sequence[FrozenTrial], tried: Floats, asked: Floats) -> Floats:
        """Return the logarithm of the seconds predicted for each setting asked; zeros where too few are known."""
        known = [index for index, trial in enumerate(seen) if self._seconds.get(trial.number, 0.0) > 0]
        if len(known) < FIRST:
            return np.zeros(len(asked))
        logs = np.log([self._seconds[seen[index].number] for index in known])
        size, centre = float(logs.std()) or 1.0, float(logs.mean())
        process = observe(tried[known], (logs - centre) / size, np.full(len(known), 0.01), self._random)
        return centre + size * process.mean(asked)

    def _candidates(self, best: Floats) -> Floats:
        near = best[self._random.integers(len(best), size=NEAR)]
        near = near + WIDTH * self._random.random((NEAR, 1)) * self._random.normal(size=near.shape)
        return self._points.made_whole(np.vstack([self._random.random((SCATTERED, best.shape[1])), near]))


def curve_of(trial: FrozenTrial, sign: float) -> list[float]:
    """Return a trial's values so far, lower being better; none where one is no number."""
    values = [sign * trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
    return values if all(map(math.isfinite, values)) else []


def by_ratio(curves: Sequence[Sequence[float]]) -> Sequence[Sequence[float]]:
    """Return the logarithms of values none of which is below 0, as of losses and error rates that are minimised.

    Where they span powers of ten, all good ones would be alike beside the bad ones. A 0 is as good as the least other.
    """
    values = [value for curve in curves for value in curve]
    least = min((value for value in values if value > 0), default=0.0)
    if min(values) < 0 or not least:
        return curves
    return [[math.log(max(value, least)) for value in curve] for curve in curves]


def is_infeasible(trial: FrozenTrial) -> bool:
    """Tell whether a trial diverged or had no room."""
    return any(key.endswith(f":{VERDICT}") and value > 0 for key, value in trial.system_attrs.items())


def expected_improvement(gain: Floats, deviation: Floats) -> Floats:
    """Return what a normal value gains over the best, on average, where losses count as none."""
    z = gain / deviation
    below = 0.5 * np.array([math.erfc(-each / math.sqrt(2)) for each in z])
    return np.asarray(gain * below + deviation * np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi))
