"""`bptt data`: what there is, what is here, and where the rest goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.main import run
from workloads.data.catalogue import ENTRIES


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BPTT_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("arguments", [["data"], ["data", "list"]])
def test_every_entry_is_a_line(data_folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert set(ENTRIES) <= set(lines)
    assert "here" in lines["python-reference"].split()
    assert "missing" in lines["tinyshakespeare"].split()


def test_a_file_put_in_its_place_is_found(data_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "describe", "etth1", "--json"]) == 0
    before = json.loads(capsys.readouterr().out)
    place = data_folder / "etth1" / "ETTh1.csv"
    assert before["here"] is False
    assert str(place) in before["place"]
    place.parent.mkdir()
    place.write_text("date,OT\n")
    assert run(["data", "describe", "etth1", "--json"]) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["here"] is True
    assert after["place"] == str(place)
    assert after["licence"] == ENTRIES["etth1"].licence


@pytest.mark.parametrize("arguments", [["data", "--json"], ["data", "list", "--json"], ["data", "--json", "list"]])
def test_json_holds_every_entry(arguments: list[str], data_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(ENTRIES)
    assert {row["workload"] for row in rows} == {"language_model", "forecast", "translation", "speech"}


def test_the_suggested_use_names_the_workloads_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "describe", "seattle-weather"]) == 0
    assert "bptt train forecast --set series=seattle-weather" in capsys.readouterr().out


def test_a_package_that_is_missing_is_named(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(["data", "describe", "sp500", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["here"] is False
    assert "the package arch is missing" in found["place"]


def test_an_unknown_name_is_answered_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "describe", "shakespear"]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "tinyshakespeare" in errors
