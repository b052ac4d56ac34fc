"""Recorded curves as a landscape: a setting of the space is answered from the settings of the grid round it."""

from __future__ import annotations

import gzip
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
NUMBERS = ("hidden_size", "truncation_length", "learning_rate")


@dataclass(frozen=True)
class Curve:
    """One training, recorded or put together: the metric and the seconds of each evaluation.

    Where it diverged there is one second entry more than there are values.
    """

    values: np.ndarray
    seconds: np.ndarray


@dataclass(frozen=True)
class Table:
    """One workload's curves on its grid.

    Between the grid's points, on logarithmic scales, the logarithms of losses and seconds are interpolated linearly in
    each direction; where a neighbour diverged, or with `is_nearest`, the nearest point answers. Between losses that
    span powers of ten, as those of `memory`, a line would see the bad neighbour alone (`record --check`).
    """

    grid: Mapping[str, list[Any]]
    curves: Mapping[tuple[int, ...], Curve]
    evaluations: int
    sequence_steps: int
    is_nearest: bool = False

    @classmethod
    def load(cls, name: str, *, is_nearest: bool = False) -> Table:
        """Read what `record --pack` wrote."""
        read = json.loads(gzip.decompress((HERE / f"{name}.json.gz").read_bytes()))
        curves = {
            tuple(entry["at"]): Curve(np.array(entry["values"]), np.array(entry["seconds"])) for entry in read["curves"]
        }
        train = read["train"]
        return cls(read["grid"], curves, train["evaluations"], train["sequence_steps"], is_nearest)

    def shortened(self, evaluations: int) -> Table:
        """Return the landscape of a smaller budget: all trainings cut off after so many evaluations."""
        curves = {
            at: Curve(curve.values[:evaluations], curve.seconds[:evaluations]) for at, curve in self.curves.items()
        }
        steps = self.sequence_steps * evaluations // self.evaluations
        return replace(self, curves=curves, evaluations=evaluations, sequence_steps=steps)

    @property
    def space(self) -> dict[str, Any]:
        """Return the space of a sweep over the landscape, as a sweep file has it."""
        found: dict[str, Any] = {"cell_type": self.grid["cell_type"]}
        for name in NUMBERS:
            ends = [self.grid[name][0], self.grid[name][-1]]
            found[name] = {"float" if name == "learning_rate" else "int": ends, "log": True}
        return found

    def curve(self, setting: Mapping[str, Any]) -> Curve:
        """Return the curve of a setting."""
        cell = self.grid["cell_type"].index(setting["cell_type"])
        places = [self._place(name, setting[name]) for name in NUMBERS]
        nearest = self.curves[(cell, *(round(place) for place in places))]
        if self.is_nearest:
            return nearest
        values, seconds = np.zeros(self.evaluations), np.zeros(self.evaluations)
        for corner in itertools.product((0, 1), repeat=len(places)):
            weight = math.prod(
                place - int(place) if up else 1 - place + int(place) for up, place in zip(corner, places, strict=True)
            )
            if weight == 0:
                continue
            neighbour = self.curves[(cell, *(int(place) + up for up, place in zip(corner, places, strict=True)))]
            if len(neighbour.values) < self.evaluations:
                return nearest
            values += weight * np.log(neighbour.values)
            seconds += weight * np.log(neighbour.seconds)
        return Curve(np.exp(values), np.exp(seconds))

    def _place(self, name: str, value: float) -> float:
        """Return where a value lies on the grid's numbered points."""
        return float(np.interp(math.log(value), np.log(self.grid[name]), range(len(self.grid[name]))))
