"""Improvement that is worth its time: `search.sampler: cost_aware`.

A Gaussian process expects a last value of every setting, from the curves of all trials (`freeze_thaw.py`), and another
one its seconds, from those measured. The setting is taken whose expected improvement is the greatest for the square
root of its seconds: a long truncation or a large network is tried where it promises to earn its time. Snoek, Larochelle
and Adams (2012), "Practical Bayesian optimization of machine learning algorithms", divide by the seconds themselves. On
recorded curves that stayed too long with what is cheap and not good, as Lee, Perrone, Archambeau and Seeger (2020),
"Cost-aware Bayesian optimization", found too.

Improvement counts by the probability that a setting can be trained at all, which a third process expects from those
that diverged or had no room: Gardner and others (2014), "Bayesian optimization with inequality constraints". So the
best settings are found right beside what diverges, where the highest learning rates lie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.samplers import BaseSampler, RandomSampler

from orchestrator.search import gaussian
from orchestrator.search.freeze_thaw import comparable, observe
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
        feasible = [other for other in seen if not is_infeasible(other)]
        if len(seen) < FIRST or not feasible:
            return {}
        curves, _ = comparable([curve_of(other, sign) for other in feasible])
        tried = self._points_of(feasible)
        process = observe(curves, tried, self._evaluations)
        asked = self._candidates(tried[np.argsort(process.ends(tried, range(len(tried)))[0])[:5]])
        begun = [other for other in others if not other.state.is_finished() and not other.intermediate_values]
        process = process.having_begun(self._points_of(begun))
        value = sum(expected_improvement(gain, deviation) for gain, deviation in process.gains(asked, tried))
        infeasible = self._points_of([other for other in others if is_infeasible(other)])
        value = value * self._chance_to_be_trained(tried, infeasible, asked)
        worth = np.log(np.maximum(value, 1e-300)) - COST_POWER * self._log_seconds(seen, asked)
        return self._points.setting(asked[int(np.argmax(worth))])

    def _chance_to_be_trained(self, feasible: Floats, infeasible: Floats, asked: Floats) -> Floats:
        """Return the probability that each setting asked neither diverges nor lacks room."""
        if not len(infeasible):
            return np.ones(len(asked))
        was = np.repeat([1.0, -1.0], [len(feasible), len(infeasible)])
        # Not divided by their deviation: that would make few of a kind next to certain, or noise.
        centre = float(was.mean())
        process = gaussian.observe(np.vstack([feasible, infeasible]), was - centre, self._random)
        return np.asarray(
            sum(weight * below((centre + mean) / deviation) for weight, mean, deviation in process.at(asked))
        )

    def _points_of(self, trials: Sequence[FrozenTrial]) -> Floats:
        dimensions = len(self._points.of({}))
        return np.array([self._points.of(trial.params) for trial in trials]).reshape(len(trials), dimensions)

    def _log_seconds(self, seen: Sequence[FrozenTrial], asked: Floats) -> Floats:
        """Return the logarithm of the seconds predicted for each setting asked; zeros where too few are known."""
        known = [trial for trial in seen if self._seconds.get(trial.number, 0.0) > 0]
        if len(known) < FIRST:
            return np.zeros(len(asked))
        logs = np.log([self._seconds[trial.number] for trial in known])
        size, centre = float(logs.std()) or 1.0, float(logs.mean())
        process = gaussian.observe(self._points_of(known), (logs - centre) / size, self._random)
        return centre + size * process.mean(asked)

    def _candidates(self, best: Floats) -> Floats:
        near = best[self._random.integers(len(best), size=NEAR)]
        near = near + WIDTH * self._random.random((NEAR, 1)) * self._random.normal(size=near.shape)
        return self._points.made_whole(np.vstack([self._random.random((SCATTERED, best.shape[1])), near]))


def curve_of(trial: FrozenTrial, sign: float) -> list[float]:
    """Return a trial's values so far, lower being better; none where one is no number."""
    values = [sign * trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]
    return values if all(map(math.isfinite, values)) else []


def is_infeasible(trial: FrozenTrial) -> bool:
    """Tell whether a trial diverged or had no room."""
    return any(key.endswith(f":{VERDICT}") and value > 0 for key, value in trial.system_attrs.items())


def expected_improvement(gain: Floats, deviation: Floats) -> Floats:
    """Return what a normal value gains over the best, on average, where losses count as none."""
    z = gain / deviation
    return np.asarray(gain * below(z) + deviation * np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi))


def below(z: Floats) -> Floats:
    """Return the probability that a standard normal value is below."""
    return np.array([0.5 * math.erfc(-each / math.sqrt(2)) for each in z])
