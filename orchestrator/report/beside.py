"""The best trial beside what needs no training, and its metrics by group: by step ahead, by speaker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.report.findings import Comparison, Groups
from orchestrator.wording import number

WORDS = {
    "naive": "the naive forecast (repeating the last value)",
    "seasonal_naive": "the seasonal naive forecast (repeating the value of a season ago)",
    "day_of_year": "the mean of the date in former years",
    "climatology": "the mean of the week around the date in former years",
    "always_up": "always forecasting a gain",
}
"""Baselines in words; others go by their names."""


def compare(
    baselines: Mapping[str, float], metrics: Mapping[str, float] | None, objectives: Mapping[str, str]
) -> list[Comparison]:
    """Set each baseline, named as in `naive/valid_mse`, beside the value of the same metric in `metrics`.

    Of a test metric better is what is better of its twin in validation. Metrics of groups are not compared.
    """
    found = []
    for key, baseline in baselines.items():
        name, _, metric = key.partition("/")
        if "/" in metric:
            continue
        best = metrics.get(metric) if metrics is not None else None
        direction = objectives.get(metric) or objectives.get(metric.replace("test_", "valid_", 1))
        beaten = None
        if best is not None and direction is not None:
            beaten = best > baseline if direction == "maximize" else best < baseline
        found.append(Comparison(name, metric, baseline, best, beaten))
    return found


def losses(compared: Sequence[Comparison], what: str = "The best trial") -> list[str]:
    """Return a sentence for each baseline that `what` does not beat by every metric; harder words where by none."""
    sentences = []
    for name in dict.fromkeys(found.name for found in compared):
        judged = [found for found in compared if found.name == name and found.beaten is not None]
        lost = [found for found in judged if not found.beaten]
        if not lost:
            continue
        figures = ", ".join(f"{found.metric} {number(found.best)} beside {number(found.baseline)}" for found in lost)
        even = all(found.best == found.baseline for found in lost)
        won = [found.metric for found in judged if found.beaten]
        if len(won) > len(lost):
            sentence = f"{what} beats {WORDS.get(name, name)} by {', '.join(won)}, but not by {figures}."
        else:
            sentence = f"{what} {'does no better than' if even else 'loses to'} {WORDS.get(name, name)}: {figures}."
            sentence += f" It is better by {', '.join(won)}." if won else ""
        if not won:
            sentence += " It is no forecast to use." if name in WORDS else " As it stands, it is not worth using."
        sentences.append(sentence)
    return sentences


def by_group(metrics: Mapping[str, float], baselines: Mapping[str, float]) -> list[Groups]:
    """Sort metrics such as `test_mse/step:24` into a table for each kind of group, in the order measured.

    Baselines of groups, such as `always_up/test_direction_accuracy/target:vix`, are put beside them.
    """
    named = dict(metrics)
    for key, value in baselines.items():
        name, _, rest = key.partition("/")
        metric, slash, group = rest.partition("/")
        if slash:
            named[f"{metric} ({name})/{group}"] = value
    found: dict[str, dict[str, dict[str, float]]] = {}
    for key, value in named.items():
        metric, _, group = key.partition("/")
        kind, colon, name = group.partition(":")
        if colon and kind and name:
            found.setdefault(kind, {}).setdefault(name, {})[metric] = value
    return [Groups(kind, members) for kind, members in sorted(found.items())]
