"""The registered model: it predicts where this project is not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from orchestrator.checkpoints.storage import CheckpointStorage
from orchestrator.cli.predict_model import find_model, open_stream
from orchestrator.errors import UserError
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, spec_from
from orchestrator.tracking.base import Model
from orchestrator.tracking.client import import_mlflow, open_client
from orchestrator.tracking.model import load_predictions, registered
from orchestrator.tracking.register import Winner, code_paths, own_distributions, requirements
from orchestrator.tracking.runs import SweepRuns
from orchestrator.tracking.view import SweepView
from orchestrator.trial import TrialRecord, TrialState
from tests.orchestrator.recorded import fox_spec

ELSEWHERE = """
import json, sys
from pathlib import Path

# An editable installation puts this project on the path in two ways; neither may serve here.
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
sys.path = [folder for folder in sys.path if not Path(folder or ".", "workloads").exists()]
import mlflow

mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
answers = model.predict(model.input_example, params=json.loads(sys.argv[3]))
import workloads

shipped = model._model_impl.context.artifacts["config"]
predictor = model.unwrap_python_model().predictor
print(json.dumps({
    "answers": answers.to_dict("list"),
    "from": workloads.__file__,
    "model": str(Path(shipped).parent.parent),
    "orchestrator": "orchestrator" in sys.modules,
    "mine": getattr(sys.modules.get("mine"), "__file__", None),
    "streamed": predictor.stream().feed("the") if "prompt" in model.input_example else None,
}))
"""

MINE = '''
"""A workload of the user's own."""
import dataclasses
import time

import numpy as np

from workloads.data.fingerprint import make_dataset
from workloads.protocol import Progress


@dataclasses.dataclass(frozen=True)
class Doubler:
    objectives = {"valid_loss": "minimize"}

    def prepare(self):
        return make_dataset(name="none", arrays={"x": np.zeros(1)}, facts={}, source="nowhere", baselines={})

    def check(self, params):
        pass

    def train(self, params, dataset, storage, resume_from=None):
        yield Progress(0, 10, {"valid_loss": 0.0}, storage.write("only", b"2"), time.time())

    def predictor(self, checkpoint):
        return Times(int(checkpoint))


class Times:
    def __init__(self, factor):
        self.factor = factor

    def example(self):
        return {"x": [1.5, 2.5], "series": [[1, 2], [3, 4]]}, {}

    def predict(self, columns, options):
        return {"y": [x * self.factor + sum(s) for x, s in zip(columns["x"], columns["series"], strict=True)]}
'''


def train_and_register(settings: Settings, spec: SweepSpec, **chosen: Any) -> tuple[str, Model, SweepRuns]:
    """Train one trial to its end, write it and register it."""
    workload = spec.load_workload()
    dataset = workload.prepare()
    trial = TrialRecord(0, chosen, spec.params(chosen), started=1_700_000_000.0)
    storage = CheckpointStorage(settings.checkpoints)
    trial.evaluations.extend(workload.train(trial.params, dataset, storage))
    assert trial.last is not None
    trial.state, trial.ended = TrialState.COMPLETE, 1_700_000_100.0
    checkpoint = storage.read(trial.last.checkpoint)
    model = Model(trial, checkpoint, spec.workload.kind, spec.workload.options)
    runs = SweepRuns(settings)
    runs.open(SweepView.of(spec, dataset), {0: chosen})
    runs.write(trial)
    return runs.register(Winner.of(model, "valid_loss")), model, runs


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.load({"runs": tmp_path_factory.mktemp("models") / "runs"}, environ={})


@pytest.fixture(scope="module")
def language(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Model, SweepRuns]:
    spec = fox_spec(tmp_path_factory.mktemp("text"))
    return train_and_register(settings, spec, truncation_length=8)


@pytest.fixture(scope="module")
def own(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Model, SweepRuns]]:
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(MINE)
    sys.path.insert(0, str(folder))
    spec = spec_from(
        {
            "name": "own",
            "workload": {"kind": "mine:Doubler"},
            "space": {"quality": [1, 2]},
            "budget": {"trials": 1, "sequence_steps": 10, "evaluations": 1},
        }
    )
    yield train_and_register(settings, spec, quality=1)
    sys.path.remove(str(folder))


def predict_elsewhere(
    settings: Settings, uri: str, folder: Path, python: str = sys.executable, **params: Any
) -> dict[str, Any]:
    """Load a model and answer its example, in a process to which this project is not installed."""
    options = json.dumps(params)
    done = subprocess.run(
        [python, "-P", "-W", "error::UserWarning:mlflow", "-c", ELSEWHERE, settings.tracking_uri, uri, options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.slow
def test_the_champion_predicts_where_this_project_is_not(
    settings: Settings, language: tuple[str, Model, SweepRuns], tmp_path: Path
) -> None:
    uri, model, _ = language
    assert uri == "models:/fox/1"
    found = predict_elsewhere(settings, "models:/fox@champion", tmp_path, length=12, seed=5)
    assert found["from"].startswith(found["model"] + "/code/")
    assert not found["orchestrator"]
    columns, _ = model.predictor.example()
    assert found["answers"] == model.predictor.predict(columns, {"length": 12, "seed": 5})
    assert len(found["answers"]["text"][0]) == len(columns["prompt"][0]) + 12
    assert found["streamed"]["token"] == [*"the"]


@pytest.mark.slow
def test_a_workload_of_the_users_own_travels_with_its_model(
    settings: Settings, own: tuple[str, Model, SweepRuns], tmp_path: Path
) -> None:
    found = predict_elsewhere(settings, "models:/own@champion", tmp_path)
    assert found["mine"] == f"{found['model']}/code/mine.py"
    assert found["answers"] == {"y": [6.0, 12.0]}


def test_a_winner_is_registered_once(language: tuple[str, Model, SweepRuns], settings: Settings) -> None:
    uri, model, runs = language
    client = open_client(settings)
    client.delete_registered_model_alias("fox", "champion")
    assert runs.register(Winner.of(model, "valid_loss")) == uri
    assert len(client.search_model_versions("name = 'fox'")) == 1
    assert client.get_model_version_by_alias("fox", "champion").version == 1
    assert len(client.search_logged_models([runs.experiment])) == 1
    assert import_mlflow().active_run() is None


def test_a_version_says_where_it_comes_from(language: tuple[str, Model, SweepRuns], settings: Settings) -> None:
    _, model, runs = language
    version = open_client(settings).get_model_version("fox", "1")
    assert version.run_id == runs._children[0]
    assert version.tags == {
        "bptt.sweep": "fox",
        "bptt.parent": runs.parent,
        "bptt.trial": "0",
        "bptt.metric": "valid_loss",
        "bptt.value": repr(model.trial.value("valid_loss")),
        "bptt.decision": "champion: the first",
    }


def test_the_model_has_signature_example_and_requirements_of_its_own(
    settings: Settings, language: tuple[str, Model, SweepRuns]
) -> None:
    loaded = load_predictions(settings, "fox")
    assert loaded.signature.inputs.input_names() == ["prompt"]
    assert loaded.signature.outputs.input_names() == ["prompt", "text"]
    assert [param.name for param in loaded.signature.params] == ["length", "temperature", "seed"]
    assert loaded.example is not None
    assert loaded.example.to_dict("list") == language[1].predictor.example()[0]
    assert [line.split("==")[0] for line in requirements()] == ["mlflow", "torch", "numpy", "pandas"]
    assert not any("+" in line for line in requirements())


def test_the_champion_is_fed_piece_by_piece_and_a_model_without_streams_says_so(
    settings: Settings, language: tuple[str, Model, SweepRuns], own: tuple[str, Model, SweepRuns]
) -> None:
    stream = open_stream(find_model(settings, "fox"))
    assert stream.feed("the") == language[1].predictor.stream().feed("the")
    with pytest.raises(UserError, match="has no streams"):
        open_stream(find_model(settings, "own"))


def test_no_pickle_is_in_the_model(settings: Settings, language: tuple[str, Model, SweepRuns]) -> None:
    stored = settings.runs / "artifacts" / "language_model" / "models"
    names = {path.name for path in stored.rglob("*") if path.is_file()}
    assert {"checkpoint.ckpt", "config.json", "pyfunc_code.py"} <= names
    assert not [name for name in names if name.endswith(".pkl")]
    assert not list(stored.rglob("code/**/*.pyc"))  # beside it, whoever loads the model from there may leave one


def test_a_wrong_table_or_parameter_is_the_users_to_mend(
    settings: Settings, language: tuple[str, Model, SweepRuns]
) -> None:
    loaded = load_predictions(settings, "models:/fox/1")
    with pytest.raises(UserError, match="missing inputs \\['prompt'\\]"):
        loaded.predict(pd.DataFrame({"text": ["the"]}))
    with pytest.raises(UserError, match="must not be negative"):
        loaded.predict(pd.DataFrame({"prompt": ["the"]}), {"length": -1})
    with pytest.raises(UserError, match=r"lenght: unknown; .* takes length, temperature, seed"):
        loaded.predict(pd.DataFrame({"prompt": ["the"]}), {"lenght": 3})


@pytest.mark.parametrize("name", ["wolf", "models:/fox/7", "models:/wolf@champion", "runs:/0123/model"])
def test_a_model_that_is_not_there_is_said_in_one_line(
    settings: Settings, language: tuple[str, Model, SweepRuns], name: str
) -> None:
    with pytest.raises(UserError, match="no such model") as raised:
        load_predictions(settings, name)
    assert "\n" not in str(raised.value)


def test_models_are_listed_with_trial_and_value(
    settings: Settings, language: tuple[str, Model, SweepRuns], own: tuple[str, Model, SweepRuns]
) -> None:
    fox, mine = registered(settings)
    assert (fox.name, fox.version, fox.alias, fox.trial, fox.metric) == ("fox", "1", "champion", 0, "valid_loss")
    assert fox.value == language[1].trial.value("valid_loss")
    assert (mine.name, mine.uri) == ("own", "models:/own/1")


def test_looking_makes_no_database(tmp_path: Path) -> None:
    settings = Settings.load({"runs": tmp_path / "runs"}, environ={})
    assert registered(settings) == []
    with pytest.raises(UserError, match="no model is registered yet"):
        load_predictions(settings, "fox")
    assert not settings.runs.exists()


@pytest.mark.parametrize("time", ["dates", "texts", "numbers", "none"])
def test_a_registered_forecaster_takes_the_very_table_it_was_trained_on(time: str, tmp_path: Path) -> None:
    rows = 300
    table = pd.DataFrame({"demand": [100 + (step * 7) % 24 for step in range(rows)]})
    stamps = {
        "dates": pd.date_range("2024-01-01", periods=rows, freq="h"),
        "texts": pd.date_range("2024-01-01", periods=rows, freq="h").astype(str),
        "numbers": range(rows),
    }
    if time in stamps:
        table.insert(0, "time", stamps[time])
    table.to_parquet(tmp_path / "table.parquet")
    settings = Settings.load({"runs": tmp_path / "runs"}, environ={})
    spec = spec_from(
        {
            "name": "demand",
            "workload": {"kind": "forecast", "series": str(tmp_path / "table.parquet"), "target": "demand"},
            "space": {"truncation_length": [4, 8]},
            "train": {"hidden_size": 4, "batch_size": 2},
            "budget": {"trials": 1, "sequence_steps": 200, "evaluations": 1},
        }
    )
    train_and_register(settings, spec, truncation_length=4)
    loaded = load_predictions(settings, "demand")
    whole = loaded.predict(table)
    assert len(whole) == 7
    assert ("time" in whole) == (time != "none")
    without = loaded.predict(table[["demand"]])
    assert without["demand"].tolist() == whole["demand"].tolist()
    assert "time" not in without
    with pytest.raises(UserError, match="demand"):
        loaded.predict(table.rename(columns={"demand": "other"}))


def winner(**changes: Any) -> Winner:
    given = {"number": 0, "kind": "language_model", "options": {}, "params": {}, "checkpoint": b"", "tags": {}}
    return Winner(**{**given, "columns": {}, "defaults": {}, "answers": {}, "metrics": {}, **changes})


def test_only_classes_are_taken_for_modules_and_installed_ones_are_required_not_carried() -> None:
    workloads_alone = [path.name for path in code_paths(winner(options={"target": "Sensor:Temp"}))]
    assert workloads_alone == ["workloads"]
    installed = winner(params={"cell_type": "torch.nn:LSTM"})
    assert [path.name for path in code_paths(installed)] == ["workloads"]
    assert own_distributions(installed) == []  # torch is required as it is
    assert own_distributions(winner(params={"cell_type": "sklearn.base:X"}))[0].startswith("scikit-learn==")
    own = winner(params={"cell_type": "tests.fakes:Cell"})
    assert [path.name for path in code_paths(own)] == ["workloads", "tests"]


@pytest.mark.slow
def test_a_registered_translator_names_what_it_needs_and_predicts_where_this_project_is_not(
    settings: Settings, tmp_path: Path
) -> None:
    pytest.importorskip("sentencepiece", reason="the extra `translation` is not installed")
    pytest.importorskip("sacrebleu", reason="the extra `translation` is not installed")
    (tmp_path / "pairs.tsv").write_text("".join(f"number {n}\tnombre {n}\n" for n in range(100)))
    spec = spec_from(
        {
            "name": "numbers",
            "workload": {"kind": "translation", "corpus": str(tmp_path / "pairs.tsv"), "vocabulary_size": 40},
            "space": {"truncation_length": [2, 8]},
            "train": {"hidden_size": 8, "batch_size": 4, "bidirectional": True},
            "budget": {"trials": 1, "sequence_steps": 400, "evaluations": 1},
        }
    )
    _, model, _ = train_and_register(settings, spec, truncation_length=2)
    loaded = load_predictions(settings, "numbers")
    assert loaded.signature.inputs.input_names() == ["source"]
    assert loaded.signature.outputs.input_names() == ["source", "translation"]
    assert [line.split("==")[0] for line in requirements(model.predictor.packages)][-1] == "sentencepiece"  # type: ignore[attr-defined]
    stored = settings.runs / "artifacts" / "translation" / "models"
    (listed,) = stored.rglob("requirements.txt")
    assert any(line.startswith("sentencepiece==") for line in listed.read_text().splitlines())
    found = predict_elsewhere(settings, "models:/numbers@champion", tmp_path, beam_width=2)
    columns, _ = model.predictor.example()
    assert found["answers"] == model.predictor.predict(columns, {"beam_width": 2})
