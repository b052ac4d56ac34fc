"""Which of a sweep's models is in use: the aliases `champion` and `challenger`, and who gets them.

A sweep that went on, or began anew under its name, brings another winner. It becomes the champion only where it is
better on the same data; otherwise it is the challenger, until somebody promotes it. Whoever is deposed is the
challenger from then on, so that there is a way back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER = "champion", "challenger"
DECISION = "bptt.decision"
"""Tag of a version: why it got the alias that it got."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """A version as it enters a contest."""

    version: str
    metric: str
    """What its sweep aimed at."""
    direction: str
    fingerprint: str
    """Of the data that its metrics were measured on; empty where that is not known."""
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a contest came out for the version that entered it last."""

    is_better: bool
    metric: str | None
    """What decided; None where nothing could be compared."""
    reason: str
    """In words that follow the version's name."""


def deciding_metric(metric: str, *measured: Mapping[str, float]) -> str | None:
    """Return what models are compared by: the objective on the test part, where all have it, else the objective itself.

    The test part comes first, since a sweep chooses its winner by validation and so flatters it there.
    """
    on_test = metric.replace("valid_", "test_", 1)
    return next((name for name in (on_test, metric) if all(name in metrics for metrics in measured)), None)


def judge(new: Entrant, old: Entrant) -> Verdict:
    """Compare two versions by what was measured on the same data; unlike things are not compared, and so not better."""
    other = f"version {old.version}"
    if not new.fingerprint or new.fingerprint != old.fingerprint:
        return Verdict(False, None, f"its data are not those of {other}, so their metrics cannot be compared")
    if (new.metric, new.direction) != (old.metric, old.direction):
        aims = f"{new.direction} {new.metric}, not {old.direction} {old.metric}"
        return Verdict(False, None, f"it was to {aims} as {other} was, so they cannot be compared")
    metric = deciding_metric(new.metric, new.metrics, old.metrics)
    if metric is None:
        return Verdict(False, None, f"{new.metric} was not measured of both it and {other}")
    ours, theirs = new.metrics[metric], old.metrics[metric]
    beats = ours > theirs if new.direction == "maximize" else ours < theirs
    is_better = math.isfinite(ours) and (beats or not math.isfinite(theirs))
    than = "better than" if is_better else "no better than"
    return Verdict(is_better, metric, f"{metric} {ours:.6g} is {than} {theirs:.6g} of {other}")


def aliases_of(client: MlflowClient, name: str) -> dict[str, str]:
    """Return the version behind each alias of a registered model."""
    return {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}


def enthrone(client: MlflowClient, name: str, version: str, reason: str) -> None:
    """Make a version the champion; the one before becomes the challenger."""
    before = aliases_of(client, name)
    # MLflow moves an alias at once; between the two calls there may be no challenger, but always a champion.
    client.set_registered_model_alias(name, CHAMPION, version)
    deposed = before.get(CHAMPION)
    if deposed is not None and deposed != version:
        challenge(client, name, deposed, f"version {version} took its place")
    elif before.get(CHALLENGER) == version:
        client.delete_registered_model_alias(name, CHALLENGER)
    client.set_model_version_tag(name, version, DECISION, f"{CHAMPION}: {reason}")


def challenge(client: MlflowClient, name: str, version: str, reason: str) -> None:
    """Make a version the challenger."""
    client.set_registered_model_alias(name, CHALLENGER, version)
    client.set_model_version_tag(name, version, DECISION, f"{CHALLENGER}: {reason}")
