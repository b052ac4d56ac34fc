"""Where the MLflow UI shows what sweeps left: paths behind its address."""

from __future__ import annotations

from orchestrator.settings import Settings
from orchestrator.tracking.client import open_to_look

EXPERIMENTS = "/#/experiments?workflowType=machine_learning"
"""The list of experiments as MLflow shows it to those who train models; by itself it opens on something else."""


def newest_runs(settings: Settings) -> str:
    """Return the path to the runs of the experiment that was swept last; to the list of experiments before any was."""
    found = _newest_sweep(settings, "tags.`bptt.role` = 'sweep'")
    return EXPERIMENTS if found is None else _runs(found[0])


def sweep_run(settings: Settings, name: str) -> str | None:
    """Return the path to the newest run of a sweep; None where MLflow has none."""
    found = _newest_sweep(settings, f"tags.`bptt.role` = 'sweep' AND tags.`bptt.sweep` = '{name}'")
    return None if found is None else f"{_runs(found[0])}/{found[1]}"


def _runs(experiment: str) -> str:
    # Not the experiment itself: MLflow opens that on an overview for language models' conversations.
    return f"/#/experiments/{experiment}/runs"


def _newest_sweep(settings: Settings, query: str) -> tuple[str, str] | None:
    client = open_to_look(settings)
    experiments = [each.experiment_id for each in client.search_experiments()]
    newest = client.search_runs(experiments, query, max_results=1, order_by=["attributes.start_time DESC"])
    return (newest[0].info.experiment_id, newest[0].info.run_id) if newest else None
