"""What a person reads in the MLflow UI: model cards and descriptions, linked with each other, and without secrets."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, spec_from
from orchestrator.tracking.client import open_client
from orchestrator.tracking.model_card import model_card, shortened, usage
from orchestrator.tracking.register import LONGEST_DESCRIPTION, Winner, fitting
from orchestrator.tracking.runs import SweepRuns
from orchestrator.tracking.versions import ui_paths
from orchestrator.tracking.view import SweepView
from tests.orchestrator.recorded import fox_spec
from tests.orchestrator.registering import train_and_register_all
from workloads.protocol import Dataset

NOTE = "mlflow.note.content"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.load({"runs": tmp_path_factory.mktemp("cards") / "runs"}, environ={})


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> SweepSpec:
    return fox_spec(tmp_path_factory.mktemp("folder-with-a-secret"))


@pytest.fixture(scope="module")
def secret(spec: SweepSpec) -> str:
    """A part of the path of the data, which cards and descriptions say."""
    return Path(str(spec.workload.options["text"])).parent.name


@pytest.fixture(scope="module")
def fox(settings: Settings, spec: SweepSpec, secret: str) -> SweepRuns:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_TOKEN", secret)
        return train_and_register_all(settings, spec, {"truncation_length": 8})


def test_a_version_carries_its_card_as_description_and_file(settings: Settings, fox: SweepRuns) -> None:
    client = open_client(settings)
    version = client.get_model_version("fox", "1")
    headings = re.findall(r"^## (.*)$", version.description, re.MULTILINE)
    assert headings == [
        *("Data", "Metrics", "How far gradients travel", "Intended use", "Limits", "Use", "Hyperparameters")
    ]
    assert re.search(r"^\| metric \| this model \| .*unigram", version.description, re.MULTILINE)
    assert re.search(r"^\| valid_loss \| \d\.\d+ \|", version.description, re.MULTILINE)
    for said in (
        "fingerprint: `",
        "licence: not known",
        "mlflow.pyfunc.load_model",
        "bptt predict fox",
        "models serve",
    ):
        assert said in version.description
    for where in (client.download_artifacts(version.run_id, "model_card.md"), model_file(settings, "model_card.md")):
        assert Path(where).read_text() == version.description


def model_file(settings: Settings, name: str) -> Path:
    (found,) = (settings.runs / "artifacts" / "language_model" / "models").rglob(name)
    return found


def test_run_model_and_report_are_linked_both_ways(settings: Settings, fox: SweepRuns) -> None:
    client = open_client(settings)
    version, experiment = client.get_model_version("fox", "1"), f"#/experiments/{fox.experiment}/runs"
    for page in (version.run_id, fox.parent, f"{fox.parent}/artifacts/report.html"):
        assert f"]({experiment}/{page})" in version.description
    fox.end({"state": "finished"})
    for run_id in (version.run_id, fox.parent):
        assert client.get_run(run_id).data.tags["bptt.model"] == "models:/fox/1"
    assert f"]({experiment}/{fox.parent})" in client.get_run(version.run_id).data.tags[NOTE]
    note = client.get_run(fox.parent).data.tags[NOTE]
    assert f"[report]({experiment}/{fox.parent}/artifacts/report.html) · [model](#/models/fox/versions/1)" in note


def test_a_sweep_taken_up_again_still_links_to_its_model(settings: Settings, spec: SweepSpec, fox: SweepRuns) -> None:
    again = SweepRuns(settings)
    again.open(fox.view, {0: {"truncation_length": 8}})
    assert again.parent == fox.parent
    assert "(#/models/fox/versions/1)" in open_client(settings).get_run(fox.parent).data.tags[NOTE]


def test_experiment_sweep_trial_and_registered_model_say_what_they_are(settings: Settings, fox: SweepRuns) -> None:
    client = open_client(settings)
    said = client.get_experiment(fox.experiment).tags[NOTE]
    sweeps, trials = (query.replace("NAME", "fox") for query in re.findall(r"search `([^`]+)`", said))
    assert [run.info.run_id for run in client.search_runs([fox.experiment], sweeps)] == [fox.parent]
    (trial,) = client.search_runs([fox.experiment], trials)
    assert re.fullmatch(
        r"Trial 0 of \[fox\]\(\S+\): truncation_length `8`\. Complete: valid_loss \d\.\d+\.", trial.data.tags[NOTE]
    )
    assert "bptt models promote fox" in client.get_registered_model("fox").description


def test_the_winners_run_has_its_data_as_input_and_the_machines_figures(settings: Settings, fox: SweepRuns) -> None:
    client = open_client(settings)
    run = client.get_run(client.get_model_version("fox", "1").run_id)
    (logged,) = run.inputs.dataset_inputs
    assert logged.dataset.digest == fox.view.dataset.fingerprint
    for name in ("peak_memory_mb", "sequence_steps_per_second"):
        assert run.data.metrics[f"system/{name}"] == run.data.metrics[name]


def test_the_figure_of_horizons_is_on_the_parent_run_and_on_the_winners(settings: Settings, fox: SweepRuns) -> None:
    fox.illustrate({"report.html": b"a page", "figures/horizons.png": b"drawn", "figures/history.png": b"drawn"}, 0)
    client = open_client(settings)
    winner = client.get_model_version("fox", "1").run_id
    shown = [[each.path for each in client.list_artifacts(run_id, "figures")] for run_id in (winner, fox.parent)]
    assert shown == [["figures/horizons.png"], ["figures/history.png", "figures/horizons.png"]]


def test_no_secret_is_in_cards_and_descriptions(settings: Settings, fox: SweepRuns, secret: str) -> None:
    client = open_client(settings)
    version = client.get_model_version("fox", "1")
    assert secret in fox.view.dataset.source
    assert "***" in version.description
    for text in (version.description, model_file(settings, "model_card.md").read_text()):
        assert secret not in text


def card(workload: dict[str, Any], **changes: Any) -> str:
    spec = spec_from(
        {
            "name": "some",
            "workload": workload,
            "space": {"hidden_size": [4, 8]},
            "budget": {"trials": 1, "sequence_steps": 10_000, "evaluations": 1},
        }
    )
    given = {
        "number": 3,
        "kind": "memory",
        "options": {},
        "params": {"cell_type": "gru"},
        "checkpoint": b"",
        "tags": {},
    }
    answered = {"columns": {"x": [1]}, "defaults": {}, "answers": {}, "metrics": {"test_loss": 1.5, "valid_loss": 1.0}}
    view = SweepView(spec, Dataset("data", {}, {}, "somewhere", "abc", {"last/test_loss": 2.0}), {})
    return model_card(Winner(**{**given, **answered, **changes}), view, ui_paths("1", "p", run_id="r"))


def test_a_card_names_the_licence_of_known_data_and_whose_others_are() -> None:
    assert "- licence: PSF" in card({"kind": "language_model", "text": "python-reference"})
    assert "- licence: none needed" in card({"kind": "memory"})
    assert "- licence: not known here" in card({"kind": "forecast", "series": "mine.csv", "target": "x"})


def test_a_cards_metrics_stand_beside_the_baselines_the_test_part_first() -> None:
    lines = card({"kind": "memory"}).splitlines()
    begin = lines.index("| metric | this model | last |")
    assert lines[begin + 2 : begin + 4] == ["| test_loss | 1.500 | 2.000 |", "| valid_loss | 1.000 | - |"]


def test_the_request_that_a_card_shows_reaches_the_server_whatever_is_in_it() -> None:
    command = usage("fox", {"source": ["don't"]}, {}).partition("curl ")[2].removesuffix("\n```")
    assert json.loads(shlex.split(command)[-1])["dataframe_split"]["data"] == [["don't"]]


def test_what_is_too_long_for_a_description_is_cut_at_a_line() -> None:
    lines = "\n".join("a line of a card" for _ in range(1000))
    cut = fitting(lines)
    assert LONGEST_DESCRIPTION - 20 < len(cut) <= LONGEST_DESCRIPTION
    assert set(cut.splitlines()) == {"a line of a card"}
    assert shortened({"x": ["y" * 1000]}).endswith(" ...")
