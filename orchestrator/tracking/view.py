"""What a sweep's runs say of it: names, parameters, and notes in Markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from orchestrator.spec import SweepSpec
from orchestrator.trial import TrialRecord
from orchestrator.wording import in_view_order, number, value_of
from workloads.protocol import Dataset


@dataclass(frozen=True, slots=True)
class SweepView:
    """What the parent run shows of a sweep."""

    spec: SweepSpec
    dataset: Dataset
    """Without its arrays, which are large and stay with the driver."""
    profile: Mapping[str, Any]

    @classmethod
    def of(cls, spec: SweepSpec, dataset: Dataset) -> SweepView:
        """Return the view of a sweep and its data."""
        profile = {name: {"shape": array.shape, "dtype": str(array.dtype)} for name, array in dataset.arrays.items()}
        bare = Dataset(dataset.name, {}, {}, dataset.source, dataset.fingerprint, dict(dataset.baselines))
        return cls(spec, bare, profile)


def describe(view: SweepView) -> str:
    """Return what the sweep is, in Markdown."""
    spec, data = view.spec, view.dataset
    cost = f" and `{spec.objective.cost}`" if spec.objective.cost else ""
    lines = [
        f"**{spec.name}** sweeps {', '.join(f'`{name}`' for name in spec.space)} of `{spec.workload.kind}` "
        f"to {spec.objective.direction} `{spec.objective.metric}`{cost}: {spec.budget.trials} trials of "
        f"{spec.budget.sequence_steps:,} sequence steps, proposed by {spec.search.sampler}, pruned by "
        f"{spec.search.pruner}.",
        f"Data: {data.name} ({data.source}), fingerprint `{data.fingerprint}`.",
    ]
    if data.baselines:
        lines.append(table(("baseline", "value"), data.baselines))
    return "\n\n".join(lines)


def describe_experiment(kind: str) -> str:
    """Return what an experiment holds, in Markdown: all sweeps of one kind of workload."""
    return "\n\n".join(
        [
            f"Sweeps of `{kind}` by `bptt`: a run for each sweep, and below it one for each trial.",
            "- **Sweeps alone**: search `tags.bptt.role = 'sweep'`. Each has the report (`report.html`), figures, its "
            "sweep file, the data with their fingerprint, and `best_*`, the best value so far.\n"
            "- **Trials of one sweep**: search `tags.bptt.sweep = 'NAME' and tags.bptt.trial LIKE '%'`; "
            "`tags.bptt.state` says how each ended, `tags.bptt.reason` why. Steps of curves are sequence steps.\n"
            "- **Winners** are registered under their sweep's name, as `champion` or `challenger`.",
            "Columns worth showing first: `bptt.state`, `bptt.cell_type`, `truncation_length`, `hidden_size`, the "
            "objective, `horizon_length` (the truncation length that the gradients ask for), `peak_memory_mb`, "
            "`sequence_steps_per_second`. Your browser keeps what you choose; no server can choose for you.",
        ]
    )


def describe_registered(view: SweepView) -> str:
    """Return what a registered model is, in Markdown."""
    name, spec = view.spec.name, view.spec
    return (
        f"Winners of the sweep **{name}** (`{spec.workload.kind}`, {spec.objective.direction} "
        f"`{spec.objective.metric}`). `champion` is the one in use: `bptt predict {name}`, or "
        f"`models:/{name}@champion`. `challenger` is the one to compare with it: `bptt models compare {name}`; "
        f"`bptt models promote {name}` scores both anew on the same data and lets the better one be champion. "
        "Each version's description is its model card."
    )


def links(paths: Mapping[str, str]) -> str:
    """Return where a sweep's report, and its model where there is one, are shown."""
    return " · ".join(f"[{name}]({paths[name]})" for name in ("report", "model") if name in paths)


def describe_trial(trial: TrialRecord, value: float | None, *, sweep: str, metric: str, page: str) -> str:
    """Return a line on a trial that has ended, in Markdown."""
    chosen = ", ".join(f"{name} `{value_of(trial.chosen[name])}`" for name in in_view_order(trial.chosen))
    came_to = "" if value is None else f": {metric} {number(value)}"
    why = f" ({trial.reason})" if trial.reason else ""
    return f"Trial {trial.number} of [{sweep}]({page}): {chosen}. {str(trial.state).capitalize()}{came_to}{why}."


def table(head: tuple[str, str], rows: Mapping[str, Any]) -> str:
    """Return a Markdown table of two columns."""
    shown = (f"{value:.6g}" if isinstance(value, float) else str(value).replace("|", "\\|") for value in rows.values())
    body = [f"| {key} | {value} |" for key, value in zip(rows, shown, strict=True)]
    return "\n".join([f"| {head[0]} | {head[1]} |", "| --- | --- |", *body])


def flatten(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return nested mappings as one, keys joined by dots; what is no mapping stays whole."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= flatten(item, f"{path}{key}.") if isinstance(item, Mapping) else {f"{path}{key}": item}
    return flat


def run_name(trial: TrialRecord) -> str:
    """Return a name that sorts by number and tells the trial from its neighbours: `0007 lstm h128 k32`."""
    letters = {"hidden_size": "h", "truncation_length": "k"}
    parts = [str(trial.params["cell_type"])] if "cell_type" in trial.params else []
    parts += [f"{letter}{trial.params[name]}" for name, letter in letters.items() if name in trial.params]
    return " ".join([f"{trial.number:04d}", *parts])


@lru_cache(maxsize=4096)
def key_of(name: str) -> str:
    """Return the name by which MLflow knows a metric or parameter: of a user's own it may refuse some characters."""
    # MLflow takes a colon, as in test_mse/step:24, everywhere but on Windows.
    allowed = "A-Za-z0-9_./ -" if os.name == "nt" else "A-Za-z0-9_./: -"
    metric, colon, group = name.partition(":")  # a group's name is anything, a speaker's for one
    return re.sub(f"[^{allowed}]", "_", metric + colon + group.replace("/", "_"))[:250]
