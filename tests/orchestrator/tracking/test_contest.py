"""Champion and challenger: who is in use, who was deposed, and what it takes to be promoted."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import run
from orchestrator.errors import UserError
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from orchestrator.tracking.client import open_client
from orchestrator.tracking.contest import Entrant, aliases_of, deciding_metric, enthrone, judge
from orchestrator.tracking.promoting import promote
from orchestrator.tracking.register import crown
from orchestrator.tracking.runs import SweepRuns
from tests.orchestrator.recorded import fox_spec
from tests.orchestrator.registering import put_version, train_and_register_all
from tests.web import serving, status

ONE = Entrant("1", "valid_loss", "minimize", "abc", {"valid_loss": 2.0, "test_loss": 3.0})
GOOD, BAD = {"learning_rate": 0.03}, {"learning_rate": 1e-6}


@pytest.mark.parametrize(
    ("changes", "is_better", "reason"),
    [
        ({"metrics": {"valid_loss": 9.0, "test_loss": 2.0}}, True, "test_loss 2 is better than 3 of version 1"),
        ({"metrics": {"valid_loss": 1.0, "test_loss": 3.5}}, False, "test_loss 3.5 is no better than 3"),
        ({"metrics": {"valid_loss": 1.0}}, True, "valid_loss 1 is better than 2"),
        ({"metrics": {"valid_loss": float("nan")}}, False, "no better"),
        ({"metrics": {}}, False, "was not measured"),
        ({"fingerprint": "def"}, False, "its data are not those of version 1"),
        ({"fingerprint": ""}, False, "its data are not those of version 1"),
        ({"metric": "valid_mse"}, False, "cannot be compared"),
    ],
)
def test_the_test_part_decides_and_unlike_things_are_not_compared(
    changes: dict[str, Any], is_better: bool, reason: str
) -> None:
    verdict = judge(replace(ONE, version="2", **changes), ONE)
    assert verdict.is_better is is_better
    assert reason in verdict.reason


def test_an_equal_model_does_not_depose_the_champion_and_more_is_better_where_it_is_to_be() -> None:
    assert not judge(replace(ONE, version="2"), ONE).is_better
    assert judge(replace(ONE, version="2"), replace(ONE, metrics={"valid_loss": float("nan")})).is_better
    old = replace(ONE, metric="valid_bleu", direction="maximize", metrics={"valid_bleu": 20.0})
    assert judge(replace(old, version="2", metrics={"valid_bleu": 21.0}), old).is_better
    assert deciding_metric("valid_bleu", {"valid_bleu": 1.0, "test_bleu": 1.0}, {"valid_bleu": 1.0}) == "valid_bleu"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.load({"runs": tmp_path_factory.mktemp("contest") / "runs"}, environ={})


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> SweepSpec:
    space = {"learning_rate": {"float": [1e-7, 0.1], "log": True}}
    budget = {"trials": 3, "sequence_steps": 2000, "evaluations": 1}
    return fox_spec(tmp_path_factory.mktemp("text"), space=space, budget=budget)


def aliases(settings: Settings, name: str = "fox") -> dict[str, str]:
    return aliases_of(open_client(settings), name)


@pytest.fixture(scope="module")
def two(settings: Settings, spec: SweepSpec) -> SweepRuns:
    """A good champion, and a bad winner after it; who changes that, changes it back."""
    return train_and_register_all(settings, spec, GOOD, BAD)


def bptt(settings: Settings, *arguments: str) -> int:
    return run(["models", *arguments, "--runs", str(settings.runs)])


def read(capsys: pytest.CaptureFixture[str], settings: Settings, *arguments: str) -> Any:
    assert bptt(settings, *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_better_winner_deposes_the_champion_and_stays_so_when_it_is_registered_again(
    shared: Settings, tmp_path: Path
) -> None:
    client = open_client(shared)
    for loss in (2.0, 1.0, 1.5):
        crown(client, "wolf", put_version(client, "wolf", {"valid_loss": loss}, tmp_path))
    assert aliases(shared, "wolf") == {"champion": "2", "challenger": "3"}
    decisions = [client.get_model_version("wolf", version).tags["bptt.decision"] for version in "123"]
    assert decisions == [
        "challenger: version 2 took its place",
        "champion: valid_loss 1 is better than 2 of version 1",
        "challenger: valid_loss 1.5 is no better than 1 of version 2",
    ]
    client.set_registered_model_alias("wolf", "champion", "1")  # somebody's own choice
    crown(client, "wolf", "2")
    assert aliases(shared, "wolf")["champion"] == "1"


def test_a_worse_winner_is_the_challenger_and_is_promoted_only_by_force(
    settings: Settings, two: SweepRuns, capsys: pytest.CaptureFixture[str]
) -> None:
    assert aliases(settings) == {"champion": "1", "challenger": "2"}
    compared = read(capsys, settings, "compare", "fox")
    assert (compared["metric"], compared["second_is_better"]) == ("valid_loss", False)
    assert compared["differences"]["valid_loss"] > 0
    assert compared["params"] == {"learning_rate": ["0.03", "1e-06"]}
    assert bptt(settings, "compare", "fox") == 0
    assert "fox/2 challenger" in capsys.readouterr().out
    assert bptt(settings, "compare", "fox", "fox/1") == 2
    assert "both are models:/fox/1" in capsys.readouterr().err
    assert bptt(settings, "promote", "fox") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no better than" in line
    assert "--force" in line
    done = read(capsys, settings, "promote", "fox", "--force")
    assert done["forced"]
    assert aliases(settings) == {"champion": "2", "challenger": "1"}
    assert bptt(settings, "promote", "fox") == 0  # and back, without force
    assert "models:/fox/1 is the champion now: valid_loss" in capsys.readouterr().out
    assert aliases(settings) == {"champion": "1", "challenger": "2"}
    assert bptt(settings, "promote", "fox/1") == 0
    assert "already" in capsys.readouterr().out


def test_promotion_scores_anew_what_was_measured_in_training(
    settings: Settings, two: SweepRuns, capsys: pytest.CaptureFixture[str]
) -> None:
    from orchestrator.tracking.promoting import look_up, scored_anew

    first, second = look_up(settings, "fox"), look_up(settings, "fox/2")
    for version, entrant in zip((first, second), scored_anew(settings, first, second), strict=True):
        assert entrant.metrics["valid_loss"] == pytest.approx(version.metrics["valid_loss"], rel=1e-6)


def test_other_data_are_not_compared_on(
    settings: Settings, two: SweepRuns, spec: SweepSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path(str(spec.workload.options["text"]))
    kept = text.with_name("kept")
    shutil.copy(text, kept)
    text.write_text(text.read_text() + "and more of it, which nobody was trained on. " * 3)
    assert bptt(settings, "promote", "fox") == 2
    assert "the data have changed since it was trained" in capsys.readouterr().err
    text.unlink()
    assert bptt(settings, "promote", "fox") == 2
    assert "cannot be scored anew" in capsys.readouterr().err
    shutil.copy(kept, text)
    assert bptt(settings, "promote", "fox/1") == 0


def test_models_are_listed_and_shown(settings: Settings, two: SweepRuns, capsys: pytest.CaptureFixture[str]) -> None:
    listed = [model for model in read(capsys, settings, "list") if model["name"] == "fox"]
    assert [(model["version"], model["alias"]) for model in listed] == [("2", "challenger"), ("1", "champion")]
    shown = read(capsys, settings, "show", "fox@challenger")
    assert shown["version"] == "2"
    assert shown["params"]["learning_rate"] == "1e-06"
    assert shown["baselines"]["unigram/valid_loss"] > 0
    assert shown["pages"]["sweep"].endswith(two.parent)
    assert not any(name.startswith("system/") for name in shown["metrics"])
    assert bptt(settings, "show", "fox") == 0
    page = capsys.readouterr().out
    assert "unigram" in page
    assert "mlflow models serve -m models:/fox/1" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "dog"), "no such model"),
        (("show", "fox/9"), "no such model"),
        (("show", "fox@winner"), "fox has no winner (aliases: challenger, champion)"),
        (("promote", "dog"), "no such model"),
        (("show", "fox/x"), "no such model"),
    ],
)
def test_a_model_that_is_not_there_is_said_in_one_line(
    shared: Settings, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bptt(shared, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two versions that no test changes."""
    folder = tmp_path_factory.mktemp("shared")
    made = Settings.load({"runs": folder / "runs"}, environ={})
    client = open_client(made)
    client.create_registered_model("fox")
    for alias in ("champion", "challenger"):
        version = client.create_model_version("fox", str(folder))
        client.set_registered_model_alias("fox", alias, str(version.version))
    return made


def test_a_champion_that_cannot_be_compared_is_challenged_not_deposed(shared: Settings, tmp_path: Path) -> None:
    client = open_client(shared)
    client.create_registered_model("bear")
    client.create_model_version("bear", str(tmp_path))
    client.set_registered_model_alias("bear", "champion", "1")
    crown(client, "bear", put_version(client, "bear", {"valid_loss": 1.0}, tmp_path))
    assert aliases(shared, "bear") == {"champion": "1", "challenger": "2"}
    assert "registered by no sweep" in client.get_model_version("bear", "2").tags["bptt.decision"]


def test_a_version_of_another_program_is_told_from_a_sweeps(
    shared: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bptt(shared, "show", "fox") == 2
    assert "registered by no sweep" in capsys.readouterr().err
    assert "fox" not in [model["name"] for model in read(capsys, shared, "list")]


def test_models_are_compared_by_a_metric_that_mlflow_spells_otherwise(shared: Settings, tmp_path: Path) -> None:
    client = open_client(shared)
    for error in (2.0, 1.0):
        version = put_version(client, "elk", {"valid_error ___": error}, tmp_path)
        client.set_model_version_tag("elk", version, "bptt.metric", "valid_error (%)")
        crown(client, "elk", version)
    assert aliases(shared, "elk") == {"champion": "2", "challenger": "1"}


def test_a_model_of_another_program_may_have_any_name(
    shared: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = open_client(shared)
    client.create_registered_model("Ann's model")
    client.create_model_version("Ann's model", str(tmp_path))
    for _ in range(2):
        put_version(client, "hare", {"valid_loss": 1.0}, tmp_path)
    listed = [model["uri"] for model in read(capsys, shared, "list") if model["name"] == "hare"]
    assert listed == ["models:/hare/2", "models:/hare/1"]


def test_force_promotes_even_where_the_champions_run_is_gone(
    shared: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = open_client(shared)
    client.create_registered_model("lynx")
    client.create_model_version("lynx", str(tmp_path), "0123456789abcdef", {"bptt.trial": "0", **OF_NO_RUN})
    client.set_registered_model_alias("lynx", "champion", "1")
    put_version(client, "lynx", {"valid_loss": 1.0}, tmp_path)
    assert bptt(shared, "promote", "lynx/2") == 2
    assert "its run is gone" in capsys.readouterr().err
    assert read(capsys, shared, "promote", "lynx/2", "--force")["before"] == "models:/lynx/1"
    assert aliases(shared, "lynx") == {"champion": "2", "challenger": "1"}


OF_NO_RUN = {"bptt.metric": "valid_loss", "bptt.value": "1.0", "bptt.parent": "0123456789abcdef"}


def test_a_champion_crowned_while_models_are_scored_is_not_deposed_by_a_comparison_with_another(
    shared: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_client(shared)
    for loss in (3.0, 2.0, 1.0):
        put_version(client, "owl", {"valid_loss": loss}, tmp_path)
    enthrone(client, "owl", "1", "the first")

    def scored_slowly(*_: Any) -> tuple[Entrant, ...]:
        enthrone(client, "owl", "3", "better than 1, and than 2")
        return replace(ONE, version="2", metrics={"valid_loss": 2.0}), replace(ONE, metrics={"valid_loss": 3.0})

    monkeypatch.setattr("orchestrator.tracking.promoting.scored_anew", scored_slowly)
    with pytest.raises(UserError, match="version 3 took the place of 1 meanwhile"):
        promote(shared, "owl/2", force=False)
    assert aliases(shared, "owl")["champion"] == "3"


def test_before_the_first_model_there_is_nothing_to_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings.load({"runs": tmp_path / "runs"}, environ={})
    assert bptt(settings, "list") == 0
    assert "There are no models" in capsys.readouterr().out
    assert bptt(settings, "show", "fox") == 2
    assert "no model is registered yet" in capsys.readouterr().err
    assert not settings.runs.exists()


@pytest.mark.parametrize(
    ("code", "exit_status", "said"), [(401, 2, "asks for a password"), (503, 1, "answers with status 503")]
)
@pytest.mark.parametrize("arguments", [("list",), ("show", "fox"), ("promote", "fox")], ids=lambda given: given[0])
def test_a_server_that_refuses_or_is_broken_is_said_at_once(
    arguments: tuple[str, ...], code: int, exit_status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as site:
        site.answers = [status(code)]
        uri = site.url.removesuffix("/file")
        assert run(["models", *arguments, "--tracking-uri", uri]) == exit_status
        assert len(site.ranges) == 1  # MLflow itself would ask for minutes
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_server_that_is_away_is_said_at_once_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def waited_for(*_: object) -> None:
        raise AssertionError("MLflow would ask for minutes")

    monkeypatch.setattr("orchestrator.tracking.client.open_client", waited_for)
    with serving() as site:
        away = site.url.removesuffix("/file").replace("//", "//ann:hard-to-guess@")
    for command in (["models", "list"], ["predict", "fox", "--prompt", "the"]):
        assert run([*command, "--tracking-uri", away]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "does not answer" in line
        assert "hard-to-guess" not in line
