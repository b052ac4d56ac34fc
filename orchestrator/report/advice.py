"""The setting to use, and how sure that is."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from orchestrator.report.evidence import Advice
from orchestrator.report.findings import Answer
from orchestrator.report.landscape import Landscape
from orchestrator.report.values import NEARLY, complete_values, grid_of, lead_of
from orchestrator.spec import FROM_BUDGET
from orchestrator.standing import Standing

FEW = 10
"""Complete trials below which a recommendation is not sure."""
LIKELY = 0.5
"""Probability below which another truncation length may well be better."""


def find_advice(seen: Standing, answer: Answer, *, landscape: Landscape | None) -> Advice | None:
    """Recommend the best trial's setting; None before a trial is complete."""
    if seen.best is None:
        return None
    setting = {name: value for name, value in seen.best.params.items() if name not in FROM_BUDGET}
    complete = len(complete_values(seen, seen.trials))
    probability = None
    if landscape is not None and answer.best is not None:
        probability = probability_of(seen, landscape, length=answer.best)
    compared = compared_alone(seen) if answer.swept else 0
    doubts = find_doubts(answer, complete=complete, probability=probability, compared=compared)
    return Advice(seen.best.number, setting, probability, complete, compared, doubts)


def probability_of(seen: Standing, landscape: Landscape, *, length: int) -> float | None:
    """Return how probably `length` is as good as the best, but for NEARLY of the best trial's lead.

    Every length stands with the cell type and the other hyperparameters that are expected to suit it best; the lengths
    are those tried. None where one alone was.
    """
    lengths = sorted({*grid_of(landscape.tried("truncation_length")), length})
    if len(lengths) < 2:
        return None
    settings = landscape.completed([{"truncation_length": each} for each in lengths])
    drawn = landscape.draw(settings)  # (draws, lengths)
    own = drawn[:, [setting["truncation_length"] for setting in settings].index(length)]
    margin = NEARLY * lead_of(complete_values(seen, seen.trials))
    return float(np.mean(own <= drawn.min(axis=1) + margin))


def compared_alone(seen: Standing) -> int:
    """Return how many complete trials differ from another one in the truncation length, and in nothing else."""
    found: dict[Any, set[int]] = defaultdict(set)
    members: dict[Any, int] = defaultdict(int)
    complete = complete_values(seen, seen.trials)
    for trial in seen.trials:
        if trial.number in complete and "truncation_length" in trial.chosen:
            rest = frozenset(item for item in trial.chosen.items() if item[0] != "truncation_length")
            found[rest].add(trial.chosen["truncation_length"])
            members[rest] += 1
    return sum(members[rest] for rest, lengths in found.items() if len(lengths) > 1)


def find_doubts(answer: Answer, *, complete: int, probability: float | None, compared: int) -> list[str]:
    """Return the reasons not to be sure, each a part of a sentence."""
    doubts = []
    if complete < FEW:
        doubts.append(f"{complete} complete trial{'s are' if complete != 1 else ' is'} few")
    if not answer.swept or answer.best is None:
        return doubts
    if answer.at_edge:
        doubts.append(f"the best truncation length lies at the {answer.at_edge} end of what was searched")
    if complete > 1 and not compared:
        doubts.append("no two trials differ in the truncation length alone, so the comparison rests on the estimate")
    if probability is not None and probability < LIKELY:
        doubts.append("another truncation length may well be better")
    return doubts
