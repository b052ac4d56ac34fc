"""Truncation told apart from the number of updates: with k1 = k2 a longer window also means fewer of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from orchestrator.report.evidence import Estimate, Updates
from orchestrator.report.landscape import Landscape, with_k1
from orchestrator.report.values import complete_values, grid_of, hyperparameter
from orchestrator.standing import Standing
from orchestrator.trial import TrialRecord
from workloads.hyperparameters import Hyperparameters

ALIKE = 1.1
"""Trials make as many updates where their steps between updates are within this factor: the last window of a
sequence is often a short one."""
TOGETHER = 0.95
"""The correlation of the logarithms of k1 and truncation length from which the two are not told apart."""


def find_updates(seen: Standing, landscape: Landscape | None) -> Updates:
    """Tell whether updates differ as truncation lengths do, by what the complete trials counted."""
    lengths: dict[int, int] = hyperparameter(seen, "truncation_length")
    sizes: dict[int, int] = hyperparameter(seen, "batch_size")
    complete = complete_values(seen, seen.trials)
    between = {
        trial.number: every
        for trial in seen.trials
        if trial.number in complete
        and trial.number in lengths
        and (every := steps_between(trial, sizes=sizes, lengths=lengths))
    }
    if len({lengths[number] for number in between}) < 2:
        return Updates("unknown", None, None, tied=False, falling=False, by_reach=(), by_k1=())
    kind, falling = kind_of([(lengths[number], steps) for number, steps in between.items()])
    tied = not any({"k1", "k1_fraction"} & set(trial.params) for trial in seen.trials)
    by_reach: list[Estimate] = []
    by_k1: list[Estimate] = []
    if kind == "apart" and landscape is not None and landscape.has_k1:
        by_reach, by_k1 = effects(landscape)
    steps = between.values()
    return Updates(kind, min(steps), max(steps), tied=tied, falling=falling, by_reach=by_reach, by_k1=by_k1)


def steps_between(trial: TrialRecord, *, sizes: Mapping[int, int], lengths: Mapping[int, int]) -> float | None:
    """Return the steps of a stream from one update to the next: as counted, else as set; None where neither is known.

    Counted, for whole sequences it is their mean length: there k1 does not say when an update is made.
    """
    updates = trial.value("updates")
    if updates and trial.last is not None and trial.number in sizes:
        return trial.last.sequence_steps / (updates * sizes[trial.number])
    k1, fraction = trial.params.get("k1"), trial.params.get("k1_fraction")
    taken = Hyperparameters(truncation_length=lengths[trial.number], k1=k1, k1_fraction=fraction)
    return float(taken.steps_between_updates)


def kind_of(pairs: Sequence[tuple[int, float]]) -> tuple[str, bool]:
    """Return how steps between updates go with truncation lengths, given (length, steps) of at least two trials.

    The second is whether the steps rise with the lengths, so that updates become fewer.
    """
    lengths, steps = (np.log(np.array(column, float)) for column in zip(*pairs, strict=True))
    if np.ptp(steps) <= math.log(ALIKE):
        return "equal", False
    correlation = float(np.corrcoef(lengths, steps)[0, 1])
    return "confounded" if abs(correlation) > TOGETHER else "apart", correlation > 0


def effects(landscape: Landscape) -> tuple[list[Estimate], list[Estimate]]:
    """Return quality against truncation length at the best trial's k1, and against k1 at its truncation length."""
    best = next(iter(landscape.settings.values()))
    fixed = {"cell_type": best["cell_type"], "truncation_length": best["truncation_length"]}
    between = with_k1(best)["k1"]
    lengths = [length for length in grid_of(landscape.tried("truncation_length")) if length >= between]
    steps = [step for step in grid_of(landscape.tried("k1")) if step <= fixed["truncation_length"]]
    by_reach = landscape.estimates([{**fixed, "truncation_length": length, "k1": between} for length in lengths])
    return by_reach, landscape.estimates([{**fixed, "k1": step} for step in steps])
