"""The registered model, as MLflow loads it: code instead of a pickle, and nothing of the orchestrator.

This file is copied into every model, beside the package `workloads`; it may import those two and pandas alone.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

import workloads


class SequenceModel(PythonModel):  # type: ignore[misc]
    """A trained recurrent network: tables in, tables out."""

    def load_context(self, context: Any) -> None:
        """Rebuild the network from the checkpoint that won."""
        config = json.loads(Path(context.artifacts["config"]).read_text(encoding="utf-8"))
        checkpoint = Path(context.artifacts["checkpoint"]).read_bytes()
        self.predictor = workloads.load(config["kind"], config["options"]).predictor(checkpoint)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Answer for every row; the exception names what is wrong with the input.

        It is MLflow's own, since of any other a served model says only that it was unexpected.
        """
        columns = {str(name): [_plain(value) for value in column] for name, column in model_input.items()}
        try:
            return pd.DataFrame(self.predictor.predict(columns, params or {}))
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


def _plain(value: Any) -> Any:
    # The signature's check turns lists into arrays, and numbers into numpy's.
    return value.tolist() if hasattr(value, "tolist") else value


set_model(SequenceModel())
