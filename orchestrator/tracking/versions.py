"""What MLflow knows of a registered model's versions: read from the version, its run, and the sweep's parent run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UserError
from orchestrator.tracking.contest import DECISION, Entrant, aliases_of
from orchestrator.tracking.view import key_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's words for a run that is not there, or has no id."""


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """One version of a registered model, as a list shows it."""

    name: str
    version: str
    uri: str
    alias: str
    """`champion`, `challenger`, or nothing."""
    trial: int
    metric: str
    value: float | None
    created: float
    """Seconds since the epoch."""
    run_id: str = ""
    parent: str = ""
    """The sweep's run."""
    decision: str = ""
    """Why it got its alias."""


@dataclass(frozen=True, slots=True)
class Details:
    """One version with what was measured of it, and on what."""

    model: RegisteredModel
    direction: str
    data: str
    fingerprint: str
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    baselines: Mapping[str, float] = field(default_factory=dict)
    """By `baseline/metric`."""
    pages: Mapping[str, str] = field(default_factory=dict)
    """Where the MLflow UI shows the version, its run, the sweep and the report: paths behind the UI's address."""

    @property
    def entrant(self) -> Entrant:
        """Return what the version enters a contest with."""
        model = self.model
        return Entrant(model.version, key_of(model.metric), self.direction, self.fingerprint, self.metrics)

    def plain(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        model = {name: getattr(self.model, name) for name in RegisteredModel.__slots__}
        rest = ("direction", "data", "fingerprint", "metrics", "baselines", "params", "pages")
        return {**model, **{name: _plain(getattr(self, name)) for name in rest}}


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def as_registered(version: ModelVersion, aliases: Mapping[str, str]) -> RegisteredModel:
    """Return what a list shows of a version that a sweep registered."""
    number, tags = str(version.version), version.tags
    return RegisteredModel(
        version.name,
        number,
        f"models:/{version.name}/{number}",
        next((alias for alias, held in sorted(aliases.items()) if str(held) == number), ""),
        int(tags["bptt.trial"]),
        tags["bptt.metric"],
        None if tags["bptt.value"] == "None" else float(tags["bptt.value"]),
        version.creation_timestamp / 1000,
        version.run_id,
        tags.get("bptt.parent", ""),
        tags.get(DECISION, ""),
    )


def details(client: MlflowClient, name: str, version: str) -> Details:
    """Return all of a version that a sweep registered.

    Raises UserError where another program registered it, or where its run is gone.
    """
    from mlflow.exceptions import MlflowException

    uri = f"models:/{name}/{version}"
    try:
        found = as_registered(client.get_model_version(name, version), aliases_of(client, name))
        run, parent = client.get_run(found.run_id), client.get_run(found.parent)
    except KeyError as error:
        raise UserError(f"{uri} was registered by no sweep: it has no tag {error}") from error
    except MlflowException as error:
        if error.error_code not in GONE:
            raise
        raise UserError(f"{uri}: its run is gone: {error.message}") from error
    return Details(
        found,
        parent.data.params.get("objective.direction", "minimize"),
        *data_of(run.data.tags.get("bptt.data", "")),
        {name: value for name, value in run.data.metrics.items() if not name.startswith("system/")},
        dict(run.data.params),
        {name: value for name, value in parent.data.metrics.items() if "/" in name},
        ui_paths(run.info.experiment_id, found.parent, run_id=found.run_id, model=uri),
    )


def data_of(tag: str) -> tuple[str, str]:
    """Return the name and the fingerprint of the data in a run's tag `bptt.data`."""
    read = re.fullmatch(r"(.*) \((\w+)\)", tag, re.DOTALL)
    return (read[1], read[2]) if read else (tag, "")


def ui_paths(experiment: str, parent: str, *, run_id: str = "", model: str = "") -> dict[str, str]:
    """Return where the MLflow UI shows a sweep, its report, and a trial and a model of it where these are given.

    Relative to the UI, so that they are right behind whatever address it has.
    """
    runs = f"#/experiments/{experiment}/runs"
    paths = {"sweep": f"{runs}/{parent}", "report": f"{runs}/{parent}/artifacts/report.html"}
    if run_id:
        paths["run"] = f"{runs}/{run_id}"
    if model:
        name, _, version = model.removeprefix("models:/").partition("/")
        paths["model"] = f"#/models/{name}/versions/{version}"
    return paths
