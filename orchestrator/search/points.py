"""Settings as points, for samplers that compute with distances: every range from 0 to 1, a choice as one of several."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Points:
    """The points of one space."""

    space: Mapping[str, BaseDistribution]

    def of(self, setting: Mapping[str, Any]) -> Floats:
        """Return a setting's point; what does not exist beside the other values lies halfway, or is no choice."""
        parts: list[float] = []
        for name, distribution in self.space.items():
            if isinstance(distribution, CategoricalDistribution):
                parts += [float(name in setting and setting[name] == choice) for choice in distribution.choices]
            else:
                parts.append(_along(distribution, setting[name]) if name in setting else 0.5)
        return np.array(parts)

    def setting(self, point: Floats) -> dict[str, Any]:
        """Return the setting at a point, or the one nearest to it."""
        found, at = {}, 0
        for name, distribution in self.space.items():
            if isinstance(distribution, CategoricalDistribution):
                width = len(distribution.choices)
                found[name] = distribution.choices[int(np.argmax(point[at : at + width]))]
                at += width
            else:
                found[name] = _at(distribution, float(point[at]))
                at += 1
        return found

    def made_whole(self, points: Floats) -> Floats:
        """Return points (any, dimensions) moved to where settings are: inside of the ranges, at one choice each."""
        found, at = points.clip(0.0, 1.0), 0
        for distribution in self.space.values():
            width = len(distribution.choices) if isinstance(distribution, CategoricalDistribution) else 0
            if width:
                found[:, at : at + width] = np.eye(width)[found[:, at : at + width].argmax(1)]
            at += width or 1
        return found


def _ends(distribution: BaseDistribution) -> tuple[float, float]:
    if not isinstance(distribution, (IntDistribution, FloatDistribution)):
        raise TypeError("a choice has no ends")
    low, high = float(distribution.low), float(distribution.high)
    return (math.log(low), math.log(high)) if distribution.log else (low, high)


def _along(distribution: BaseDistribution, value: float) -> float:
    low, high = _ends(distribution)
    at = math.log(value) if getattr(distribution, "log", False) else value
    return (at - low) / (high - low) if high > low else 0.5


def _at(distribution: BaseDistribution, place: float) -> Any:
    low, high = _ends(distribution)
    value = low + min(max(place, 0.0), 1.0) * (high - low)
    if not isinstance(distribution, (IntDistribution, FloatDistribution)):
        raise TypeError("a choice has no ends")
    value = math.exp(value) if distribution.log else value
    if distribution.step is not None:
        value = distribution.low + round((value - distribution.low) / distribution.step) * distribution.step
    value = min(max(value, distribution.low), distribution.high)
    return int(value) if isinstance(distribution, IntDistribution) else float(value)
