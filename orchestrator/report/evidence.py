"""The parts of a report that say how sure it is: estimates, fronts, the horizon, the recommendation; plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a trial is expected to come to, with the other hyperparameters that are expected to suit it best."""

    cell_type: str
    """Empty where the workload knows none."""
    truncation_length: int
    k1: int | None
    """Steps between updates, where they were swept too."""
    value: float
    low: float
    """`low` to `high` is a 90 % interval of the quality itself; a single trial scatters round it besides."""
    high: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Quality against truncation length, for each cell type."""

    estimates: Sequence[Estimate]
    """None where there is too little to judge by."""
    trials: int
    """Complete trials that the estimate is made from."""
    note: str
    """Why there is nothing, or what to keep in mind."""


@dataclass(frozen=True, slots=True)
class Point:
    """One complete trial: how good, and at which cost."""

    trial: int
    value: float
    cost: float
    setting: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Front:
    """The complete trials that no other one beats in quality and cost at once, the cheapest first (Pareto)."""

    cost: str
    """`seconds` of training, or peak `memory` in MB."""
    points: Sequence[Point]
    trials: int
    """Complete trials compared."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """What the best trial's gradient says of the truncation length, beside what the sweep found."""

    trial: int
    truncation_length: int | None
    reach: float | None
    """Steps after which the gradient is below 1 %; None where it never fell so far."""
    advised: int | None
    """The shortest truncation length whose relative bias is at most 10 %, by the gradient; None where unknown."""
    edge: int | None
    """Steps back at which the gradient falls at one blow, and then the advice; None where it falls smoothly."""
    bias: float | None
    """The relative bias of the gradient at the trial's own truncation length."""
    decay: float | None
    """The fitted factor per step."""
    agrees: bool | None
    """None where one of the two says nothing."""
    why: str
    """Where they do not agree, what may be the reason; where it is not known, why."""


@dataclass(frozen=True, slots=True)
class Updates:
    """Whether trials of different truncation lengths made as many updates, and what either of the two did."""

    kind: str
    """`equal`, `confounded` (they go with the truncation length), `apart`, or `unknown`."""
    shortest: float | None
    longest: float | None
    """Steps of a stream between two updates, the fewest and the most of all complete trials."""
    tied: bool
    """Whether k1 is nothing but the truncation length."""
    falling: bool
    """Whether a longer window meant fewer updates, by and large."""
    by_reach: Sequence[Estimate]
    """Quality against truncation length at the best trial's k1; none unless the two were varied apart."""
    by_k1: Sequence[Estimate]
    """Quality against k1 at the best trial's truncation length."""


@dataclass(frozen=True, slots=True)
class Advice:
    """The setting to use, and how sure that is."""

    trial: int
    setting: Mapping[str, Any]
    """All of it: what was swept, and what the sweep file fixed."""
    probability: float | None
    """That its truncation length is as good as the best one, but for a twentieth of the best trial's lead over the
    median trial; None where it cannot be told."""
    trials: int
    compared: int
    """Complete trials that differ from another one in the truncation length alone."""
    doubts: Sequence[str]
    """Reasons not to be sure, each a part of a sentence."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One stretch of a trial on one worker."""

    trial: int
    worker: str
    """As `host/place`."""
    owner: str
    """The driver."""
    began: float
    ended: float
    """Seconds since the epoch, both; of one under way, now."""
    how: str
    """The trial's state from then on, or what ended it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that kept a trial from going on where it was."""

    time: float
    trial: int
    worker: str
    what: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Who trained which trial when."""

    stretches: Sequence[Stretch]
    """In the order they began."""
    workers: int
    drivers: int
    trained_s: float
    """All workers added up, evaluations included."""
    idle_s: float
    """Between each worker's first stretch and its last, under each driver."""
    faults: Sequence[Fault]
