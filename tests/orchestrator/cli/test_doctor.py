"""`bptt doctor`: what it prints, and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator import doctor
from orchestrator.cli.main import run
from orchestrator.doctor import FAILURE, OK, WARNING, Finding

FINDINGS = {
    OK: Finding("disk", OK, "83 GB free"),
    WARNING: Finding("tracking", WARNING, "asks for a password", "set MLFLOW_TRACKING_USERNAME"),
    FAILURE: Finding("ray", FAILURE, "does not start", "free memory"),
}


@pytest.mark.parametrize(
    ("states", "status"), [([OK], 0), ([OK, WARNING], 0), ([OK, FAILURE], 1), ([WARNING, FAILURE, FAILURE], 1)]
)
def test_only_a_failure_is_one(
    states: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {"everything": lambda _: [FINDINGS[state] for state in states]})
    assert run(["doctor"]) == status
    shown = capsys.readouterr().out
    for state in states:
        assert FINDINGS[state].message in shown
        assert FINDINGS[state].advice in shown
    assert f"{states.count(WARNING)} warnings, {states.count(FAILURE)} failures" in shown


def test_json_holds_every_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {state: lambda _, state=state: [FINDINGS[state]] for state in FINDINGS})
    assert run(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["warning"], found["failure"]) == (1, 1, 1)
    assert found["findings"][1]["advice"] == "set MLFLOW_TRACKING_USERNAME"


def test_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Ray is started for real in the tests of the checks; it leaves nothing in the runs folder either.
    monkeypatch.setattr(doctor, "CHECKS", {name: check for name, check in doctor.CHECKS.items() if name != "Ray"})
    assert run(["doctor", "--runs", str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().out.count("\nok ") >= 5
    assert list(tmp_path.iterdir()) == []
