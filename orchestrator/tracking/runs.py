"""A sweep's runs in MLflow: a parent, and a child per trial. Writing any of it again changes nothing.

A trial's run is ended last, after all that belongs to it, so an ended run is a whole one. Metrics carry the time and
the step at which they were measured, and MLflow keeps a metric of the same name, step, time and value once.
"""

from __future__ import annotations

import getpass
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestrator.errors import masked, presentable
from orchestrator.settings import Settings
from orchestrator.spec import is_of_resources
from orchestrator.tracking.base import Model
from orchestrator.tracking.client import (
    all_pages,
    import_mlflow,
    is_database,
    open_client,
    sqlite_file,
    talking_to,
)
from orchestrator.tracking.register import Winner, register_model
from orchestrator.tracking.versions import ui_paths
from orchestrator.tracking.view import (
    SweepView,
    describe,
    describe_experiment,
    describe_trial,
    flatten,
    key_of,
    links,
    run_name,
    table,
)
from orchestrator.trial import TrialRecord, TrialState

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED"}
"""MLflow's word for how a trial ended; every other end is FAILED, and the tag `bptt.state` says which."""
PARENT_STATUS = {"finished": "FINISHED", "interrupted": "KILLED"}
NOTE = "mlflow.note.content"
"""What the MLflow UI shows as the description of a run or an experiment, in Markdown."""
SYSTEM = ("peak_memory_mb", "sequence_steps_per_second")
"""Shown under `system/` too, where the MLflow UI has a tab for them. MLflow's own monitor watches one process and logs
by the fluent API to its one current run, which here is neither the process nor the run of a trial."""
SHORTEST_CUT = 250
"""Characters of a param that any version of MLflow keeps; today's keep 6000."""
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Lets the MLflow UI open on runs, curves and models instead of on what it has for language-model applications."""


HORIZONS = "figures/horizons.png"
"""The figure that the winner's run has too: how far back gradients reach."""


class SweepRuns:
    """Writes one sweep's runs. Any exception of a call means: open again, then write what was not written."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._client: MlflowClient | None = None
        self._best: float | None = None
        self._model = ""

    def prepare(self) -> None:
        """Load MLflow and make its tables where there are none, so that opening the runs takes a moment.

        Nothing that is there is touched: a process killed while it migrates tables leaves them between two versions.
        """
        file = sqlite_file(self.settings)
        if file is None or file.exists():
            import_mlflow()
        else:
            self._client = open_client(self.settings)

    def open(self, view: SweepView, chosen: Mapping[int, Mapping[str, Any]]) -> dict[int, str]:
        """Find or make the parent run; return the trials that have a run, each with its state if that is ended.

        `chosen` are the trials that the sweep has, with their swept hyperparameters.
        """
        self._client = client = self._client or open_client(self.settings)
        self.view = view
        self._best = None
        self.experiment = self._find_experiment(client)
        self.parent, runs = self._find_parent(client, chosen)
        self._children = {number_of(run): run.info.run_id for run in runs}
        # Params are written once: a run that has them lacks nothing but evaluations.
        self._begun = {number_of(run) for run in runs if run.data.params}
        self._values = {number_of(run): run.data.metrics.get(key_of(self._metric)) for run in runs}
        states = {
            number_of(run): "" if run.info.status == "RUNNING" else run.data.tags.get("bptt.state", "") for run in runs
        }
        self._shown = {number_of(run): run.data.tags.get("bptt.state", "") for run in runs}
        self._ended = sum(map(bool, states.values()))
        for number, state in states.items():
            self._improve(state, number)
        return states

    @property
    def client(self) -> MlflowClient:
        """Return the client; open() comes first."""
        if self._client is None:
            raise RuntimeError("open() comes before anything else")
        return self._client

    @property
    def _metric(self) -> str:
        return str(self.view.spec.objective.metric)

    def _find_experiment(self, client: MlflowClient) -> str:
        # One experiment per kind of workload: its sweeps share metrics and hyperparameters, so they share a table.
        kind = self.view.spec.workload.kind
        found = client.get_experiment_by_name(f"bptt/{kind}")
        if found is None:
            folder = f"{self.settings.artifacts}/{re.sub(r'[^A-Za-z0-9_.-]', '-', kind)}"
            artifacts = folder if is_database(self.settings) else None
            tags = {**EXPERIMENT_TAGS, NOTE: describe_experiment(kind)}
            made: str = client.create_experiment(f"bptt/{kind}", artifacts, tags)
            return made
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        if NOTE not in found.tags:  # made by an earlier version; a user's own words stay
            client.set_experiment_tag(found.experiment_id, NOTE, describe_experiment(kind))
        return str(found.experiment_id)

    def _find_parent(self, client: MlflowClient, chosen: Mapping[int, Mapping[str, Any]]) -> tuple[str, list[Run]]:
        name = self.view.spec.name
        for run in self._search(client, f"tags.`bptt.sweep` = '{name}' AND tags.`bptt.role` = 'sweep'"):
            children = self._search(client, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
            if agree(run, self._params()) and all(agree(run, chosen.get(number_of(run))) for run in children):
                if run.info.status != "RUNNING":
                    client.update_run(run.info.run_id, "RUNNING")
                self._describe(client, run)
                return run.info.run_id, children
        tags = {**origin(), "bptt.sweep": name, "bptt.role": "sweep", "bptt.state": "running"}
        made = client.create_run(self.experiment, tags=tags, run_name=name)
        self._describe(client, made)
        return made.info.run_id, []

    def _search(self, client: MlflowClient, query: str) -> list[Run]:
        return all_pages(lambda token: client.search_runs([self.experiment], query, max_results=1000, page_token=token))

    def _params(self) -> dict[str, Any]:
        flat = flatten(self.view.spec.plain())
        return {key: value for key, value in flat.items() if value is not None and not changeable(key)}

    def _describe(self, client: MlflowClient, parent: Run) -> None:
        from mlflow.entities import Metric, Param, RunTag

        flat = flatten(self.view.spec.plain())
        tags = {f"bptt.{key}": str(value) for key, value in flat.items() if value is not None and changeable(key)}
        self._model = parent.data.tags.get("bptt.model", "")
        tags |= {"bptt.state": "running", NOTE: self._describe_sweep(parent.info.run_id)}
        began = parent.info.start_time
        client.log_batch(
            parent.info.run_id,
            metrics=[Metric(key_of(name), value, began, 0) for name, value in self.view.dataset.baselines.items()],
            params=[Param(key_of(name), str(value)) for name, value in self._params().items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        client.log_inputs(parent.info.run_id, [self._input()])

    def _describe_sweep(self, parent: str) -> str:
        paths = ui_paths(self.experiment, parent, model=self._model)
        return masked("\n\n".join([links(paths), describe(self.view)]))

    def attach(self) -> None:
        """Put the sweep file beside the parent run; apart from open(), since artifacts may be where runs are not."""
        text = yaml.safe_dump(self.view.spec.plain(), sort_keys=False, allow_unicode=True)
        self.client.log_text(self.parent, text, "sweep.yaml")

    def _input(self) -> DatasetInput:
        from mlflow.entities import Dataset as Entity
        from mlflow.entities import DatasetInput, InputTag

        data = self.view.dataset
        source, profile = json.dumps({"tags": {"source": data.source}}), json.dumps(self.view.profile)
        entity = Entity(data.name[:500], data.fingerprint, "code", source, profile=profile)
        return DatasetInput(entity, [InputTag("mlflow.data.context", "training")])

    def write(self, trial: TrialRecord) -> None:
        """Show a trial as it stands; `trial.evaluations` may be only those that were not written before."""
        from mlflow.entities import Metric, Param, RunTag

        # Paused trials and those that go on change their tag too; a new run is made with it.
        has_changed = trial.state.is_final or self._shown.get(trial.number, trial.state) != trial.state
        run_id = self._children.get(trial.number) or self._create(trial)
        tags = state_tags(trial) if has_changed else {}
        params: list[Param] = []
        if trial.number not in self._begun:
            params = [Param(key_of(name), str(value)) for name, value in trial.params.items()]
        metrics = [
            Metric(key_of(name), float(value), int(progress.time * 1000), progress.sequence_steps)
            for progress in trial.evaluations
            for name, value in with_system(progress.metrics)
        ]
        if trial.evaluations:
            self._values[trial.number] = trial.value(self._metric)
        if tags and trial.state.is_final:
            tags[NOTE] = self._describe_trial(trial)
        self.client.log_batch(run_id, metrics, params, [RunTag(key, value) for key, value in tags.items()])
        self._begun.add(trial.number)
        self._shown[trial.number] = str(trial.state)
        if trial.state.is_final and trial.ended is not None:
            when = int(trial.ended * 1000)
            if self._improve(trial.state, trial.number):
                # Before the run is ended: an ended run is not written again.
                self.client.log_metric(self.parent, key_of(f"best_{self._metric}"), self._best, when, self._ended + 1)
            self.client.set_terminated(run_id, STATUS.get(trial.state, "FAILED"), when)
            self._ended += 1

    def _create(self, trial: TrialRecord) -> str:
        tags = {
            **origin(),
            "mlflow.parentRunId": self.parent,
            "bptt.sweep": self.view.spec.name,
            "bptt.trial": str(trial.number),
            # The data set itself is an input of the parent: for each trial it would cost as much as creating the run.
            "bptt.data": f"{self.view.dataset.name} ({self.view.dataset.fingerprint})",
            **state_tags(trial),
        }
        if "cell_type" in trial.params:
            tags["bptt.cell_type"] = str(trial.params["cell_type"])
        made = self.client.create_run(self.experiment, int(trial.started * 1000), tags, run_name(trial))
        self._children[trial.number] = made.info.run_id
        return str(made.info.run_id)

    def _describe_trial(self, trial: TrialRecord) -> str:
        name, page = self.view.spec.name, ui_paths(self.experiment, self.parent)["sweep"]
        value = self._values.get(trial.number)
        return masked(describe_trial(trial, value, sweep=name, metric=self._metric, page=page))

    def _improve(self, state: str, number: int) -> bool:
        value = self._values.get(number)
        if state != TrialState.COMPLETE or value is None:
            return False
        sign = -1 if self.view.spec.objective.direction == "maximize" else 1
        if self._best is not None and sign * self._best <= sign * value:
            return False
        self._best = value
        return True

    def try_out(self, model: Model) -> Winner | str:
        """Return the model with its example answered, or in a line why it does not answer."""
        try:
            return Winner.of(model, self._metric)
        except Exception as error:  # noqa: BLE001 - a workload of the user's own may fail in any way
            return presentable(str(error)) or type(error).__name__

    def register(self, winner: Winner) -> str:
        """Log, register and crown the winner's model; return its URI. A trial is registered once."""
        run_id = self._children[winner.number]
        with talking_to(self.settings):
            uri = register_model(self.client, winner, self.view, run_id=run_id, parent=self.parent)
        self._model = uri
        self.client.log_inputs(run_id, [self._input()])
        for shown_on in (run_id, self.parent):
            self.client.set_tag(shown_on, "bptt.model", uri)
        return uri

    def end(self, summary: Mapping[str, Any]) -> None:
        """Show how the sweep went, and end the parent run. Taking the sweep up again sets it running again."""
        from mlflow.entities import RunTag

        state = str(summary.get("state", "finished"))
        note = "\n\n".join([self._describe_sweep(self.parent), table(("result", ""), flatten(summary))])
        tags = [RunTag("bptt.state", state), RunTag(NOTE, note)]
        self.client.log_batch(self.parent, tags=tags)
        self.client.set_terminated(self.parent, PARENT_STATUS.get(state, "FAILED"))

    def illustrate(self, files: Mapping[str, bytes] | str, winner: int | None = None) -> None:
        """Put report and figures beside the parent run, in place of those before, or a tag that says why they lack.

        The figure of horizons is put beside the winner's run too, where the number of a winner is given.
        """
        if isinstance(files, str):
            self.client.set_tag(self.parent, "bptt.report", presentable(f"not drawn: {files}")[:500])
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                Path(folder, name).parent.mkdir(exist_ok=True)
                Path(folder, name).write_bytes(content)
            self.client.log_artifacts(self.parent, folder)
            if winner is not None and HORIZONS in files:
                figure = Path(folder, HORIZONS)
                self.client.log_artifact(self._children[winner], str(figure), figure.parent.name)
        self.client.set_tag(self.parent, "bptt.report", next(iter(files)))


def with_system(metrics: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return metrics by name, those of the machine under `system/` as well."""
    return [*metrics.items(), *((f"system/{name}", metrics[name]) for name in SYSTEM if name in metrics)]


def changeable(key: str) -> bool:
    """Tell what may change in a sweep that goes on; MLflow's params never change, so such things are tags."""
    return key in ("budget.trials", "budget.hours") or is_of_resources(key)


def number_of(run: Run) -> int:
    """Return the number of the trial that a child run shows."""
    return int(run.data.tags["bptt.trial"])


def agree(run: Run, params: Mapping[str, Any] | None) -> bool:
    """Tell whether a run shows `params`, as far as it shows any; None are the params of no trial of this sweep.

    By this a sweep tells its own runs from those of an earlier one that had its name.
    """
    shown = run.data.params
    if params is None:
        return False
    given = {key_of(key): str(item) for key, item in params.items()}
    return all(shows(shown.get(key, text), text) for key, text in given.items())


def shows(value: str, given: str) -> bool:
    """Tell whether a param's value is what was given, or the beginning of it, where MLflow cut it off."""
    return value == given or (len(value) >= SHORTEST_CUT and given.startswith(value))


def state_tags(trial: TrialRecord) -> dict[str, str]:
    """Return the tags by which a user filters trials."""
    return {"bptt.state": str(trial.state)} | ({"bptt.reason": trial.reason} if trial.reason else {})


def origin() -> dict[str, str]:
    """Return the tags that say who ran this, and by what."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = "unknown"
    return {"mlflow.user": user, "mlflow.source.name": "bptt", "mlflow.source.type": "LOCAL"}
