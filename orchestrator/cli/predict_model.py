"""Finding the model that `bptt predict` is asked for: in MLflow, or in a folder of `bptt train`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.cli.options import existing_ledger, find_sweep
from orchestrator.cli.trained import MODEL, TrainedFolder
from orchestrator.errors import UserError
from orchestrator.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.tracking.model import LoadedModel
    from workloads.protocol import Predictor, Stream


def prompt_column(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str | None:
    """Return the column that `--prompt` fills: a model's only one, if it is of texts; else None.

    `rows` are those of the model's example; where it has none, the column's name tells.
    """
    if len(columns) != 1:
        return None
    is_text = all(isinstance(row[0], str) for row in rows) if rows else columns[0] == "prompt"
    return columns[0] if is_text else None


def prompt_flag(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str | None:
    """Return how a command line gives such a model a text; None where it takes none."""
    column = prompt_column(columns, rows)
    if column is None:
        return None
    return f"--prompt {shlex.quote('Once upon a time' if column == 'prompt' else rows[0][0])}"


class Usable(Protocol):
    """A model in use, wherever it came from."""

    def example(self) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Return a table that it answers, and its options with their defaults."""

    def predict(self, table: pd.DataFrame, options: Mapping[str, Any]) -> pd.DataFrame:
        """Answer a table; UserError names what is wrong with it."""

    @property
    def predictor(self) -> Predictor:
        """Return what answers."""


class TrainedModel:
    """A checkpoint of `bptt train`."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def example(self) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Return the predictor's own."""
        import pandas as pd

        columns, options = self.predictor.example()
        return pd.DataFrame(columns), options

    def predict(self, table: pd.DataFrame, options: Mapping[str, Any]) -> pd.DataFrame:
        """Answer a table; UserError names what is wrong with it."""
        import pandas as pd

        columns = {str(name): table[name].tolist() for name in table.columns}
        try:
            return pd.DataFrame(self.predictor.predict(columns, options))
        except ValueError as error:
            raise UserError(f"INPUT: {error}") from error


class RegisteredModel:
    """A model out of MLflow."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded

    def example(self) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Return what was logged with the model."""
        import pandas as pd

        signature, example = self._loaded.signature, self._loaded.example
        if example is None:
            example = pd.DataFrame(columns=signature.inputs.input_names())
        return example, {option.name: option.default for option in signature.params or ()}

    def predict(self, table: pd.DataFrame, options: Mapping[str, Any]) -> pd.DataFrame:
        """Answer a table; UserError names what is wrong with it."""
        return self._loaded.predict(table, options)

    @property
    def predictor(self) -> Predictor:
        """Return what the model's own code made of its checkpoint."""
        return self._loaded.predictor


def open_stream(model: Usable) -> Stream:
    """Return a model to be fed piece by piece; UserError says why one cannot be."""
    begin = getattr(model.predictor, "stream", None)
    if begin is None:
        raise UserError("--stream: the code that this model was trained with has no streams; predict whole inputs")
    try:
        stream: Stream = begin()
    except ValueError as error:
        raise UserError(f"--stream: {error}") from error
    return stream


def find_model(settings: Settings, name: str, *, trial: int | None = None) -> Usable:
    """Return the model called `name`: a path of `bptt train`, a sweep or a URI; UserError where there is none.

    With `trial` it is that of one trial of the sweep, out of its last checkpoint.
    """
    path = Path(name)
    if trial is not None:
        return of_trial(settings, name, trial)
    if path.suffix == ".ckpt" or path.is_file():
        if not (path.parent / MODEL).is_file():
            raise UserError(f"MODEL: {name}: there is no {MODEL} beside it; a sweep's model goes by the sweep's name")
        return TrainedModel(TrainedFolder.open(path.parent).predictor(path))
    if (path / MODEL).is_file():
        return TrainedModel(TrainedFolder.open(path).predictor())
    from orchestrator.tracking.model import load_predictions

    return RegisteredModel(load_predictions(settings, name))


def of_trial(settings: Settings, sweep: str, number: int) -> TrainedModel:
    """Return the model in a trial's last checkpoint; UserError where there is none, or where it was not kept."""
    from orchestrator.checkpoints.storage import CheckpointStorage
    from orchestrator.standing import standing

    ledger = existing_ledger(settings)
    seen = standing(ledger, find_sweep(ledger, sweep))
    trial = next((trial for trial in seen.trials if trial.number == number), None)
    if trial is None:
        there = f"there are 0 to {len(seen.trials) - 1}" if seen.trials else "there are none yet"
        raise UserError(f"--trial {number}: {seen.row.name} has no such trial; {there}")
    if trial.last is None:
        raise UserError(f"--trial {number}: it has no evaluation, and so no checkpoint ({trial.state})")
    storage = CheckpointStorage(settings.checkpoints).within(seen.row.name)
    try:
        return TrainedModel(seen.spec.load_workload().predictor(storage.read(trial.last.checkpoint)))
    except FileNotFoundError as error:
        best = "" if seen.best is None else f"; the best is trial {seen.best.number}"
        raise UserError(
            f"--trial {number}: its checkpoint was not kept ({trial.state}){best}; with BPTT_KEEP=all a sweep keeps "
            "the last one of every trial"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"--trial {number}: {error}") from error
