"""A sweep's complete trials as a surface, and what it says of settings that were not tried."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.report.evidence import Estimate
from orchestrator.report.surface import Surface
from orchestrator.report.values import complete_values, hyperparameter, sign
from orchestrator.space import Parameter
from orchestrator.standing import Standing
from workloads.hyperparameters import Hyperparameters

FEWEST = 4
"""Complete trials below which nothing is estimated."""
MOST = 150
"""Complete trials that the surface is learnt from: of more, the best."""
OTHERS = 20
"""Of the best trials, whose other hyperparameters are tried beside each truncation length."""
WIDE = 8.0
"""Numbers listed as choices, and losses, are taken on a log scale where the largest is so many times the smallest."""
FAR_OUT = 3.0
"""A value so many quartile ranges worse than the quartile counts as just that bad (Tukey, 1977): one trial that went
wrong would make everything near the best look alike."""
INTERVAL = (0.05, 0.95)
LARGEST = 700.0
"""Of a logarithm whose exponential is a number still."""
UNKNOWN = 0.5
"""Where on the scale a number stands that a trial does not have, its condition not being met."""

Setting = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Scale:
    """One hyperparameter as a number from 0 to 1, or as a label."""

    name: str
    labels: Sequence[Any] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False

    def code(self, setting: Setting) -> float:
        """Return where the setting stands."""
        value = setting.get(self.name)
        if self.labels:
            return float(self.labels.index(value)) if value in self.labels else -1.0
        if value is None:
            return UNKNOWN
        low, high, value = (math.log(x) if self.log else float(x) for x in (self.low, self.high, value))
        return (value - low) / (high - low)


class Landscape:
    """The estimated quality of any setting, from the complete trials."""

    def __init__(self, seen: Standing) -> None:
        """Learn from the trials; ValueError says why that cannot be."""
        self.sign = sign(seen)
        values = dict(list(complete_values(seen, seen.trials).items())[:MOST])  # the best first
        if len(values) < FEWEST:
            raise ValueError(f"{FEWEST} complete trials are the fewest to estimate from")
        if len(set(values.values())) == 1:
            raise ValueError("all complete trials came to the same value")
        lengths, cells = hyperparameter(seen, "truncation_length"), hyperparameter(seen, "cell_type")
        trials = {trial.number: trial for trial in seen.trials}
        self.trials = len(values)
        self.settings: dict[int, dict[str, Any]] = {}
        for number in values:
            own = {"truncation_length": lengths.get(number), "cell_type": cells.get(number)}
            params = trials[number].params
            between = {name: params[name] for name in ("k1", "k1_fraction") if params.get(name) is not None}
            self.settings[number] = {**trials[number].chosen, **own, **between}
        self.scales = find_scales(seen.spec.space, [with_k1(setting) for setting in self.settings.values()])
        if not self.scales:
            raise ValueError("the complete trials do not differ in any hyperparameter")
        is_label = [bool(scale.labels) for scale in self.scales]
        inputs, losses = self._inputs(list(self.settings.values())), self.sign * np.array(list(values.values()))
        # Losses over some orders of magnitude are told apart by their logarithms alone.
        self.log = bool(losses.min() > 0 and losses.max() / losses.min() >= WIDE)
        compared = tamed(np.log(losses) if self.log else losses)
        with np.errstate(over="ignore"):
            if not np.isfinite(np.std(compared)):
                raise ValueError("the complete trials' values are too large to estimate from")
        self._surface = Surface(inputs, compared, is_label=is_label)

    @property
    def has_k1(self) -> bool:
        """Tell whether the steps between updates were varied apart from the truncation length."""
        return any(scale.name == "k1" for scale in self.scales)

    def tried(self, name: str) -> list[Any]:
        """Return the values of a hyperparameter that complete trials have, in order."""
        found = {with_k1(setting).get(name) for setting in self.settings.values()}
        return sorted(value for value in found if value is not None)

    def _inputs(self, settings: Sequence[Setting]) -> np.ndarray:
        return np.array([[scale.code(full) for scale in self.scales] for full in map(with_k1, settings)])

    def completed(self, fixed: Sequence[Setting]) -> list[dict[str, Any]]:
        """Return each of the settings with the other hyperparameters that are expected to suit it best."""
        others = list(self.settings.values())[:OTHERS]
        candidates = [[{**without_k1(other, given), **given} for other in others] for given in fixed]
        allowed = [[each for each in some if is_possible(each)] for some in candidates]
        flat = [each for some in allowed for each in some]
        means = iter(self._surface.mean(self._inputs(flat)) if flat else ())
        best = []
        for some in allowed:
            ranked = [(float(next(means)), index) for index in range(len(some))]
            if ranked:
                best.append(some[min(ranked)[1]])
        return best

    def draw(self, settings: Sequence[Setting]) -> np.ndarray:
        """Draw the quality of the settings (draws, settings), as losses: the smaller the better."""
        drawn = self._surface.draw(self._inputs(settings))
        return np.exp(np.clip(drawn, -LARGEST, LARGEST)) if self.log else drawn

    def estimates(self, fixed: Sequence[Setting]) -> list[Estimate]:
        """Return what to expect of settings that fix some hyperparameters, the others at their best."""
        settings = self.completed(fixed)
        if not settings:
            return []
        drawn = self.sign * self.draw(settings)
        low, high = np.quantile(drawn, INTERVAL, axis=0)
        return [
            Estimate(
                str(setting.get("cell_type") or ""),
                int(setting["truncation_length"]),
                with_k1(setting)["k1"] if self.has_k1 else None,
                value=float(np.median(drawn[:, index])),
                low=float(low[index]),
                high=float(high[index]),
            )
            for index, setting in enumerate(settings)
        ]


def survey(seen: Standing) -> tuple[Landscape | None, str]:
    """Return the landscape of a sweep; None where there is none, and why."""
    try:
        return Landscape(seen), ""
    except ValueError as error:
        return None, str(error)


def with_k1(setting: Setting) -> dict[str, Any]:
    """Return the setting with its steps between updates in place of the part that they are."""
    length, k1, fraction = (setting.get(name) for name in ("truncation_length", "k1", "k1_fraction"))
    found = {name: value for name, value in setting.items() if name != "k1_fraction"}
    if length is None:
        return found
    taken = Hyperparameters(truncation_length=int(length), k1=k1, k1_fraction=fraction)
    return {**found, "k1": taken.steps_between_updates}


def without_k1(setting: Setting, given: Setting) -> Setting:
    """Return the setting without what `given` says of k1 in its place."""
    return {name: value for name, value in setting.items() if name != "k1_fraction"} if "k1" in given else setting


def is_possible(setting: Setting) -> bool:
    """Tell whether no steps would be left out between updates."""
    return setting.get("k1") is None or setting["k1"] <= setting["truncation_length"]


def tamed(losses: np.ndarray) -> np.ndarray:
    """Return losses (trials,) with those far out on the bad side brought in."""
    lower, upper = np.quantile(losses, (0.25, 0.75))
    return np.minimum(losses, upper + FAR_OUT * (upper - lower)) if upper > lower else losses


def find_scales(space: Mapping[str, Parameter], settings: Sequence[Setting]) -> list[Scale]:
    """Return the hyperparameters in which the settings differ, each on its scale."""
    found = []
    for name in sorted({name for setting in settings for name in setting}):
        values = {setting.get(name) for setting in settings}
        tied = name == "k1" and all(setting["k1"] == setting["truncation_length"] for setting in settings)
        if len(values) > 1 and not tied:
            found.append(find_scale(name, space.get(name), values=[value for value in values if value is not None]))
    return [scale for scale in found if scale is not None]


def find_scale(name: str, parameter: Parameter | None, *, values: Sequence[Any]) -> Scale | None:
    """Return the scale of one hyperparameter; None where there is nothing to tell its values apart by."""
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    listed = () if parameter is None else parameter.choice or ()
    if not numbers or None in listed:  # null is a value of its own, and at no place among numbers
        return Scale(name, labels=sorted(values, key=repr))
    low, high = min(values), max(values)
    if low == high:
        return Scale(name, labels=list(values))  # those trials have it, the others do not
    if name in ("truncation_length", "k1"):
        log = True
    elif parameter is None or listed:
        log = low > 0 and high / low >= WIDE
    else:
        log = parameter.log
    return Scale(name, low=low, high=high, log=log)
