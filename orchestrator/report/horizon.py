"""What the best trial's gradient advises, beside what the sweep found."""

from __future__ import annotations

import numpy as np

from orchestrator.horizon import whole
from orchestrator.report.evidence import Horizon, Updates
from orchestrator.report.findings import Answer
from orchestrator.report.landscape import Landscape
from orchestrator.report.values import NEARLY, complete_values, hyperparameter, lead_of
from orchestrator.standing import Standing

MEASURED = ("horizon_reach", "horizon_length", "horizon_bias", "horizon_decay")
WITHIN = 2.0
"""The factor within which two truncation lengths agree."""
SURE = 0.95
"""Probability from which one truncation length is called better than another."""


def find_horizon(seen: Standing, answer: Answer, *, landscape: Landscape | None, updates: Updates) -> Horizon | None:
    """Return what the best trial's last evaluation measured of its horizon, and whether the sweep agrees.

    They agree where, first, the advised length is nearly as good as the best trial's, within the estimate's
    uncertainty (the 90 % interval of the difference of the two does not lie wholly above NEARLY of the best's lead),
    and second, the shortest length that is nearly as good as the best lies within a factor of two of the advice. An
    advice outside of the lengths tried is judged by the nearest one tried.
    """
    metrics = seen.best.last.metrics if seen.best is not None and seen.best.last is not None else {}
    if seen.best is None or not any(name in metrics for name in MEASURED):
        return None
    length = hyperparameter(seen, "truncation_length").get(seen.best.number)
    reach, advised, bias, decay = (metrics.get(name) for name in MEASURED)
    at_least = None if advised is None else max(round(advised), 1)
    edge = metrics.get("horizon_edge")
    margin = NEARLY * lead_of(complete_values(seen, seen.trials))
    agrees, why = judge(at_least, answer, landscape=landscape, updates=updates, margin=margin)
    return Horizon(seen.best.number, length, reach, at_least, whole(edge), bias, decay, agrees, why)


def judge(
    advised: int | None, answer: Answer, *, landscape: Landscape | None, updates: Updates, margin: float
) -> tuple[bool | None, str]:
    """Return whether advice and sweep agree, and why they may not."""
    if advised is None:
        return None, "the gradient was not followed far enough to tell"
    if not answer.swept or answer.best is None or answer.shortest is None:
        return None, "the sweep did not compare truncation lengths"
    tried = [] if landscape is None else landscape.tried("truncation_length")
    if landscape is None or len(tried) < 2:
        return None, "there are too few complete trials that differ"
    nearest = min(max(advised, tried[0]), tried[-1])
    if is_worse(landscape, nearest, best=answer.best, margin=margin):
        return False, reasons(advised, answer, nearest=nearest, updates=updates)
    if not advised / WITHIN <= answer.shortest <= advised * WITHIN:
        return False, reasons(advised, answer, nearest=nearest, updates=updates)
    return True, ""


def is_worse(landscape: Landscape, length: int, *, best: int, margin: float) -> bool:
    """Tell whether `length` is worse than `best` by more than a margin, beyond the uncertainty."""
    if length == best:
        return False
    settings = landscape.completed([{"truncation_length": length}, {"truncation_length": best}])
    if len(settings) < 2:
        return False
    drawn = landscape.draw(settings)
    return bool(np.mean(drawn[:, 0] > drawn[:, 1] + margin) >= SURE)


def reasons(advised: int, answer: Answer, *, nearest: int, updates: Updates) -> str:
    """Return what may be the reason why the sweep found another length than the gradient advises."""
    if advised != nearest:
        return f"the advice lies outside of the lengths tried, of which {nearest} is the nearest"
    if advised > (answer.shortest or 0):
        if updates.kind == "confounded":
            return (
                "with this budget the more frequent updates of a short window may be worth more than a gradient "
                "without bias; a larger budget, or train.k1 fixed, would tell"
            )
        return "what the gradient brings from further back may be too little to show in this budget"
    if updates.kind == "confounded":
        return "the sweep compared lengths with different numbers of updates, and the gradient says nothing of that"
    return "the gradient is that of the best trial alone, summed up over its training, and others may reach further"
