"""The winner as a model that predicts anywhere: logged with all it needs, registered, and crowned."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UserError, masked
from orchestrator.tracking.base import Model
from orchestrator.tracking.contest import CHAMPION, DECISION, Verdict, aliases_of, challenge, enthrone, judge
from orchestrator.tracking.model_card import model_card
from orchestrator.tracking.versions import details, ui_paths
from orchestrator.tracking.view import SweepView, describe_registered
from workloads.options import is_import_path

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

CARD = "model_card.md"
LONGEST_DESCRIPTION = 5000
"""Characters, in MLflow's tables."""
REQUIREMENTS = ("mlflow", "torch", "numpy", "pandas")
"""What the shipped code imports to predict."""


@dataclass(frozen=True, slots=True)
class Winner:
    """A model to be registered, as plain values: what it is rebuilt from, and a sample of what it does."""

    number: int
    kind: str
    options: Mapping[str, Any]
    params: Mapping[str, Any]
    checkpoint: bytes
    tags: Mapping[str, str]
    columns: Mapping[str, list[Any]]
    defaults: Mapping[str, Any]
    answers: Mapping[str, list[Any]]
    metrics: Mapping[str, float]
    """Of its last evaluation."""
    optional_columns: Sequence[str] = ()
    packages: Sequence[str] = ()
    """What the predictor needs beside REQUIREMENTS."""

    @classmethod
    def of(cls, model: Model, metric: str) -> Winner:
        """Return the winner with its example answered."""
        trial, predictor = model.trial, model.predictor
        columns, defaults = predictor.example()
        answers = predictor.predict(columns, defaults)
        tags = {"bptt.trial": str(trial.number), "bptt.metric": metric, "bptt.value": repr(trial.value(metric))}
        fields = (trial.number, model.kind, dict(model.options), dict(trial.params), model.checkpoint, tags)
        optional = tuple(getattr(predictor, "optional_columns", ()))
        packages = tuple(getattr(predictor, "packages", ()))
        metrics = dict(trial.last.metrics) if trial.last else {}
        return cls(*fields, columns, defaults, answers, metrics, optional, packages)


def register_model(client: MlflowClient, winner: Winner, view: SweepView, *, run_id: str, parent: str) -> str:
    """Log the winner on its run, register it under the sweep's name and give it an alias; return its URI.

    A winner registered before keeps the alias that it has.
    """
    sweep = view.spec.name
    found = find_version(client, sweep, run_id)
    if found is None:
        _ensure_registered_model(client, view)
        paths = ui_paths(client.get_run(run_id).info.experiment_id, parent, run_id=run_id)
        card = masked(model_card(winner, view, paths))
        model_id = log_model(client, winner, run_id, card)
        tags = {"bptt.sweep": sweep, "bptt.parent": parent, **winner.tags}
        source = f"models:/{model_id}"
        made = client.create_model_version(sweep, source, run_id, tags, description=fitting(card), model_id=model_id)
        found = str(made.version)
    crown(client, sweep, found)
    return f"models:/{sweep}/{found}"


def crown(client: MlflowClient, name: str, version: str) -> None:
    """Give a version its alias: `champion` where there is none or it is better, else `challenger`.

    One that was decided on before is left as it is, since somebody may have promoted another.
    """
    holder = aliases_of(client, name).get(CHAMPION)
    if holder is None:
        enthrone(client, name, version, "the first")
    elif holder != version and DECISION not in client.get_model_version(name, version).tags:
        try:
            verdict = judge(details(client, name, version).entrant, details(client, name, holder).entrant)
        except UserError as error:  # the champion is another program's, or its run is gone
            verdict = Verdict(False, None, f"the champion cannot be compared: {error}")
        (enthrone if verdict.is_better else challenge)(client, name, version, verdict.reason)


def fitting(card: str) -> str:
    """Return a card as long as a version's description may be, whole lines of it."""
    return card if len(card) <= LONGEST_DESCRIPTION else card[:LONGEST_DESCRIPTION].rpartition("\n")[0]


def find_version(client: MlflowClient, name: str, run_id: str) -> str | None:
    """Return the version of a registered model that came from a run; None where there is none."""
    found = client.search_model_versions(f"name = '{name}' AND run_id = '{run_id}'")
    return str(found[0].version) if found else None


def _ensure_registered_model(client: MlflowClient, view: SweepView) -> None:
    name, kind = view.spec.name, view.spec.workload.kind
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, {"bptt.workload": kind}, describe_registered(view))


def log_model(client: MlflowClient, winner: Winner, run_id: str, card: str) -> str:
    """Log the model and its card on a run, and return its id.

    MLflow's own log_model() would write to the one active run of the process; here it is said which.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model as Description

    with tempfile.TemporaryDirectory() as folder:
        package = pack_model(winner, Path(folder))
        (package / CARD).write_text(card, encoding="utf-8")
        experiment = client.get_run(run_id).info.experiment_id
        params = {name: str(value) for name, value in winner.params.items()}
        logged = client.create_logged_model(experiment, "model", run_id, tags=dict(winner.tags), params=params)
        try:
            described = Description.load(str(package))
            described.run_id, described.model_id, described.model_uuid = run_id, logged.model_id, logged.model_id
            described.save(str(package / "MLmodel"))
            client.log_model_artifacts(logged.model_id, str(package))
            client.finalize_logged_model(logged.model_id, "READY")
        except BaseException:
            with contextlib.suppress(MlflowException):
                client.delete_logged_model(logged.model_id)
            raise
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
    client.log_text(run_id, card, CARD)
    return str(logged.model_id)


def pack_model(winner: Winner, folder: Path) -> Path:
    """Write the model as MLflow keeps it, below `folder`, and see that it predicts."""
    import pandas as pd
    from mlflow import pyfunc

    inputs, defaults = pd.DataFrame(winner.columns), dict(winner.defaults)
    package = folder / "model"
    pyfunc.save_model(
        package,
        python_model=str(Path(__file__).with_name("pyfunc_code.py")),
        artifacts=_write_artifacts(winner, folder),
        code_paths=[str(path) for path in code_paths(winner)],
        signature=signature_of(winner),
        input_example=(inputs, defaults) if defaults else inputs,
        pip_requirements=[*requirements(winner.packages), *own_distributions(winner)],
    )
    pyfunc.load_model(str(package)).predict(inputs, defaults or None)
    return package


def signature_of(winner: Winner) -> ModelSignature:
    """Return the signature that the example shows, less what MLflow would refuse without need.

    It takes no whole numbers where the example has others, and no dates where it has texts; the predictor itself takes
    both, and says better what is wrong.
    """
    import pandas as pd
    from mlflow.models import infer_signature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType

    signature = infer_signature(
        pd.DataFrame(winner.columns), pd.DataFrame(winner.answers), dict(winner.defaults) or None
    )
    columns = []
    for column in signature.inputs.inputs:
        is_optional = column.name in winner.optional_columns
        loose = is_optional or column.type == DataType.double
        columns.append(ColSpec(AnyType(), column.name, required=not is_optional) if loose else column)
    signature.inputs = Schema(columns)
    return signature


def _write_artifacts(winner: Winner, folder: Path) -> dict[str, str]:
    checkpoint, config = folder / "checkpoint.ckpt", folder / "config.json"
    checkpoint.write_bytes(winner.checkpoint)
    config.write_text(json.dumps({"kind": winner.kind, "options": dict(winner.options)}), encoding="utf-8")
    return {"checkpoint": str(checkpoint), "config": str(config)}


def code_paths(winner: Winner) -> list[Path]:
    """Return what the model must carry to run where this project is not: `workloads`, and the user's own modules."""
    own = [_source_of(module) for module in own_modules(winner)]
    return [_source_of("workloads"), *(path for path in own if not _is_installed(path))]


def own_distributions(winner: Winner) -> list[str]:
    """Return the installed packages that the user's own classes come from, pinned: they are required, not carried."""
    installed = [module for module in own_modules(winner) if _is_installed(_source_of(module))]
    by_module = metadata.packages_distributions() if installed else {}  # a look at every file that is installed
    names = dict.fromkeys(name for module in installed for name in by_module.get(module, []))
    return [f"{name}=={_version(name)}" for name in names if name not in REQUIREMENTS]


def own_modules(winner: Winner) -> list[str]:
    """Return the top modules of the user's own workload and cell."""
    named = (winner.kind, winner.params.get("cell_type"))
    paths = [name for name in named if isinstance(name, str) and is_import_path(name)]
    return list(dict.fromkeys(path.partition(":")[0].partition(".")[0] for path in paths))


def _source_of(module: str) -> Path:
    found = importlib.util.find_spec(module)
    folders = list(found.submodule_search_locations or []) if found is not None else []
    if found is None or not (folders or found.origin):
        raise UserError(f"{module}: its source is not found, so no model can carry it")
    return Path(folders[0] if folders else str(found.origin))


def _is_installed(path: Path) -> bool:
    return any(path.is_relative_to(sysconfig.get_path(kind)) for kind in ("purelib", "platlib"))


def requirements(packages: Sequence[str] = ()) -> list[str]:
    """Return what predicting needs, `packages` among it, pinned to what is installed.

    A build's own suffix (`+cpu`) is in no index.
    """
    return [f"{name}=={_version(name)}" for name in (*REQUIREMENTS, *packages)]


def _version(name: str) -> str:
    return metadata.version(name).partition("+")[0]
