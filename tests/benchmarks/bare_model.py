"""A bare torch model for MLflow's server: a network's layers, run as often and on the same shapes as by it.

This file is copied into the model; it imports nothing of this project.
"""

from typing import Any

import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Bare(PythonModel):  # type: ignore[misc]
    """Recurrent, linear and embedding layers, and nothing round them: no text, no sound, no table, no search."""

    def load_context(self, context: Any) -> None:
        """Read the layers and what each call of one takes."""
        self.calls = torch.load(context.artifacts["calls"], weights_only=False)

    @torch.inference_mode()
    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Run the layers, whatever is asked."""
        for layer, inputs in self.calls:
            layer(*inputs)
        return pd.DataFrame({"calls": [len(self.calls)]})


set_model(Bare())
