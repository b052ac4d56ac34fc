"""Registered models, as the command line uses them: listed, loaded, and asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UserError
from orchestrator.settings import Settings
from orchestrator.tracking.client import all_pages, import_mlflow, open_to_look, sqlite_file, talking_to
from orchestrator.tracking.contest import CHAMPION
from orchestrator.tracking.versions import RegisteredModel, as_registered

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

    from workloads.protocol import Predictor


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A registered model in use."""

    uri: str
    signature: ModelSignature
    example: pd.DataFrame | None
    _model: Any

    @property
    def predictor(self) -> Predictor:
        """Return what the model's own code made of its checkpoint; UserError where a sweep did not make the model."""
        predictor: Predictor | None = getattr(self._model.unwrap_python_model(), "predictor", None)
        if predictor is None:
            raise UserError(f"{self.uri}: no sweep registered it")
        return predictor

    def predict(self, table: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Answer for every row of `table`; UserError names what is wrong with it, or with `params`."""
        from mlflow.exceptions import MlflowException

        allowed = [param.name for param in self.signature.params or ()]
        for name in params or {}:
            if name not in allowed:
                raise UserError(f"{name}: unknown; {self.uri} takes {', '.join(allowed) or 'no parameters'}")
        try:
            answers: pd.DataFrame = self._model.predict(table, params=dict(params or {}) or None)
        except (MlflowException, ValueError) as error:
            raise UserError(f"{self.uri}: {_one_line(error)}") from error
        return answers


def load_predictions(settings: Settings, name_or_uri: str) -> LoadedModel:
    """Load a sweep's champion by the sweep's name, or any model by its `models:/` or `runs:/` URI.

    Raises UserError where there is none.
    """
    uri = name_or_uri if ":/" in name_or_uri else f"models:/{name_or_uri}@{CHAMPION}"
    if not may_exist(settings):
        raise UserError(f"{name_or_uri}: no model is registered yet in {settings.tracking_uri}; see `bptt run`")
    mlflow = import_mlflow()
    with talking_to(settings):
        from mlflow.exceptions import MlflowException

        try:
            open_to_look(settings)
            model = mlflow.pyfunc.load_model(uri)
        except (MlflowException, OSError) as error:
            raise UserError(f"{uri}: no such model in {settings.tracking_uri}: {_one_line(error)}") from error
    return LoadedModel(uri, model.metadata.signature, model.input_example, model)


def registered(settings: Settings) -> list[RegisteredModel]:
    """Return every model that sweeps registered, by name, the latest version first."""
    if not may_exist(settings):
        return []
    client = open_to_look(settings)
    models = all_pages(lambda token: client.search_registered_models(page_token=token))
    aliases = {model.name: dict(model.aliases) for model in models}
    # Not by name: a model of another program may have one that no filter can hold.
    of_sweeps = "tags.`bptt.trial` LIKE '%'"
    found = all_pages(lambda token: client.search_model_versions(of_sweeps, page_token=token))
    versions = [version for version in found if version.name in aliases]
    versions.sort(key=lambda version: (version.name, -int(version.version)))
    return [as_registered(version, aliases[version.name]) for version in versions]


def may_exist(settings: Settings) -> bool:
    """Tell whether there can be a model; looking must not make a database."""
    file = sqlite_file(settings)
    return settings.tracking_uri != "none" and (file is None or file.exists())


def _one_line(error: Exception) -> str:
    # MLflow shows the whole table before it says what is wrong with it.
    return " ".join(str(error).split()).rpartition("Error: ")[2][:300] or type(error).__name__
