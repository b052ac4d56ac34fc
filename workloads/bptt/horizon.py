"""The gradient's horizon: how far back the loss at a step reaches, and what a truncation of each length would lose.

The gradient of the loss at step t with respect to the state k steps before is measured for k = 1, 2, ... on a window
of training data, layer by layer; and so is what truncation at k steps would lose of the gradient of the parameters that
it travels through. Aicher, Foti and Fox (2019), "Adaptively truncating backpropagation through time to control gradient
bias", bound the second by the first; over one window both can be measured. What lies beyond the window is extrapolated:
the part lost goes on falling as it did in the window's middle.

Measurements are summed, each counting by the size of its gradient: one that says nothing any more, because all is
learnt, weighs nothing. A few streams are a small sample, and part of what reaches far is noise that averages out in
training: estimates are of the gradient as an update sees it, and rather too long than too short.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

NEGLIGIBLE = 0.01
"""A gradient below this part of its largest norm has reached its horizon."""
ALLOWED_BIAS = 0.1
"""The relative bias at which a truncation length is advised."""
EDGE, NEAREST_EDGE = 1.2, 3
"""A gradient that falls by this factor more than it does just before and behind has an edge, not before that step."""
FAINT = 0.05
"""A gradient below this part of its largest is searched for no edge."""
NOTHING = 1e-8
"""A gradient below this part of its largest is numerical noise, to which no decay is fitted."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """What was measured on one window, or the sum over several."""

    distances: tuple[int, ...]
    """Steps back, rising; the last is the length of the window."""
    norms: tuple[float, ...]
    """Mean norm of the gradient with respect to the whole state at each distance."""
    layers: tuple[tuple[float, ...], ...]
    """The same for the state of each layer."""
    lost: tuple[float, ...]
    """Square of the norm of the part of the parameters' gradient that lies beyond each distance."""
    whole: float
    """The same of all of it."""

    @property
    def decay(self) -> float:
        """Return the factor per step by which the gradient changes; below 1 it falls."""
        return fitted_decay(self.distances, self.norms)

    def inside(self, truncation_length: float) -> float:
        """Return the part of the window's gradient that lies beyond a distance, from 0 to about 1."""
        if self.whole <= 0:
            return 1.0
        square = float(np.interp(truncation_length, [0, *self.distances], [self.whole, *self.lost]))
        return math.sqrt(max(square, 0.0) / self.whole)

    @property
    def fall(self) -> float:
        """Return the factor per step by which what a truncation loses falls in the middle of the window, at most 1."""
        quarter = self.distances[-1] / 4
        near, far = self.inside(quarter), self.inside(2 * quarter)
        if near <= 0 or far <= 0:
            return 0.0
        return math.exp(math.log(min(far / near, 1.0)) / quarter)

    @property
    def beyond(self) -> float:
        """Return what lies beyond the window relative to what lies in it: as it fell in the middle, it goes on."""
        half = self.distances[-1] / 2
        far = self.inside(half)
        return 0.0 if far < NEGLIGIBLE else far * self.fall**half

    @property
    def explodes(self) -> bool:
        """Tell whether the gradient has grown over the window, and is still growing at its end."""
        return self.decay > 1 and self.norms[-1] > self.norms[0]

    def bias(self, truncation_length: float) -> float:
        """Return the estimated relative bias of the gradient at a truncation length, from 0 to 1."""
        if self.whole <= 0:
            return 1.0
        further = max(truncation_length - self.distances[-1], 0)
        left = float(self.beyond * self.fall**further)
        return min((self.inside(truncation_length) + left) / (1 + self.beyond), 1.0)

    @property
    def reach(self) -> int | None:
        """Return the steps after which the gradient stays below NEGLIGIBLE; None where the window has no such."""
        return reach_of(self.distances, self.norms)

    @property
    def edge(self) -> int | None:
        """Return the distance at which the gradient falls at one blow; None where it falls smoothly.

        There lies what the task has to remember: before it a state holds that, and further back it does not yet.
        """
        # Where little is left, it is of no consequence how it falls.
        points = [pair for pair in zip(self.distances, self.norms, strict=True) if pair[1] > FAINT * max(self.norms)]
        falls = [
            (far, math.log(near_norm / far_norm), far - near) for (near, near_norm), (far, far_norm) in pairwise(points)
        ]
        unusual = [
            (fall - steps * (fall_before / steps_before + fall_behind / steps_behind) / 2, far)
            for (_, fall_before, steps_before), (far, fall, steps), (_, fall_behind, steps_behind) in zip(
                falls, falls[1:], falls[2:], strict=False
            )
            if far >= NEAREST_EDGE
        ]
        steepest, far = max(unusual, default=(0.0, 0))
        return far if steepest > math.log(EDGE) else None

    @property
    def advised(self) -> int | None:
        """Return the truncation length to use: up to the edge where there is one, else the shortest of little bias.

        None where none is known, or where gradients explode and the length is not what is wrong.
        """
        return None if self.explodes else self.edge or self.shortest()

    def shortest_window(self, longest: int, *, k1: int | None = None, bias: float = ALLOWED_BIAS) -> int:
        """Return the shortest window of at most `longest` steps, whose losses' mean bias is at most `bias`.

        Of a window's losses only the last reaches all of it: the first of its k1 new ones (all are new where k1 is
        None or no less) goes back over what stands before it. Where no window is long enough it is `longest`.
        """
        biases = np.cumsum([0.0, *(self.bias(distance) for distance in range(1, longest + 1))])
        for length in range(1, longest):
            new = min(k1 or length, length)
            if biases[length] - biases[length - new] <= bias * new:
                return length
        return longest

    def shortest(self, bias: float = ALLOWED_BIAS) -> int | None:
        """Return the shortest truncation length whose estimated bias is at most `bias`; None where none is known."""
        far = self.distances[-1]
        within = [length for length in range(1, far + 1) if self.bias(length) > bias]
        length = within[-1] + 1 if within else 1
        if length <= far:
            return length
        beyond, fall = self.beyond, self.fall
        if beyond <= 0:  # what is left at the window's end is rounding
            return far
        if self.whole <= 0 or not 0 < fall < 1:
            return None
        return far + max(math.ceil(math.log(bias * (1 + beyond) / beyond) / math.log(fall)), 1)


def horizon_metrics(horizon: Horizon | None, truncation_length: float | None) -> dict[str, float]:
    """Return a horizon as metrics; none where nothing could be measured.

    `horizon_decay`, `horizon_reach` (absent where the gradient never falls below NEGLIGIBLE within the window),
    `horizon_length`, the truncation length advised (absent where none is), `horizon_edge`, where the gradient falls at
    one blow (absent where it does not), and `horizon_bias`, the estimated bias at `truncation_length` (absent where
    that is None: nothing is cut). Curves are groups: `horizon_norm/distance:16`, `horizon_bias/length:16` at powers of
    two and the window's end, and `horizon_decay/layer:1` from the lowest layer on.
    """
    if horizon is None or not max(horizon.norms):
        return {}
    found = {
        "horizon_decay": horizon.decay,
        "horizon_bias": None if truncation_length is None else horizon.bias(truncation_length),
        "horizon_reach": horizon.reach,
        "horizon_length": horizon.advised,
        "horizon_edge": horizon.edge,
    }
    last = horizon.distances[-1]
    shown = sorted({*(2**power for power in range(last.bit_length()) if 2**power <= last), last})
    for distance in shown:
        found[f"horizon_norm/distance:{distance}"] = float(np.interp(distance, horizon.distances, horizon.norms))
        found[f"horizon_bias/length:{distance}"] = horizon.bias(distance)
    for number, norms in enumerate(horizon.layers, start=1):
        found[f"horizon_decay/layer:{number}"] = fitted_decay(horizon.distances, norms)
        found[f"horizon_reach/layer:{number}"] = reach_of(horizon.distances, norms)
    return {name: float(value) for name, value in found.items() if value is not None}


def fitted_decay(distances: Sequence[int], norms: Sequence[float]) -> float:
    """Fit log norm = a + distance * log decay by least squares over the farther half of the window."""
    pairs = [
        (distance, math.log(norm))
        for distance, norm in zip(distances, norms, strict=True)
        if norm > NOTHING * max(norms) > 0
    ]
    far = [pair for pair in pairs if pair[0] >= pairs[-1][0] / 2]
    if len(far) < 2:
        return 0.0 if len(pairs) < 2 else math.exp((pairs[-1][1] - pairs[0][1]) / (pairs[-1][0] - pairs[0][0]))
    slope = np.polyfit([distance for distance, _ in far], [logarithm for _, logarithm in far], 1)[0]
    return math.exp(float(slope))


def reach_of(distances: Sequence[int], norms: Sequence[float]) -> int | None:
    """Return the first distance from which on all norms are below NEGLIGIBLE of the largest; None if there is none."""
    largest = max(norms)
    if not largest:
        return distances[0]
    above = [place for place, norm in enumerate(norms) if norm >= NEGLIGIBLE * largest]
    return distances[above[-1] + 1] if above[-1] + 1 < len(distances) else None


def together(horizons: Sequence[Horizon]) -> Horizon:
    """Return the sum of horizons measured at the same distances."""
    return Horizon(
        horizons[0].distances,
        tuple(np.sum([each.norms for each in horizons], axis=0).tolist()),
        tuple(tuple(row) for row in np.sum([each.layers for each in horizons], axis=0).tolist()),
        tuple(np.sum([each.lost for each in horizons], axis=0).tolist()),
        sum(each.whole for each in horizons),
    )
