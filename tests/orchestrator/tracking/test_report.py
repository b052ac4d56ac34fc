"""The report and its figures beside the parent run: at the end, now and then before, and never in anyone's way."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.errors import BpttError
from orchestrator.settings import Settings
from orchestrator.tracking.base import Files, Model
from orchestrator.tracking.client import open_client
from orchestrator.tracking.mlflow import MlflowTracker
from orchestrator.tracking.process import RemoteDrawing
from tests.orchestrator.conftest import make_spec
from tests.orchestrator.tracking.conftest import DrawnHere, RunsHere
from tests.orchestrator.tracking.runs import end, evaluate, make_trial, parents
from workloads.protocol import Dataset

CLOSE_WITHIN_S = 60.0


def artifacts(settings: Settings) -> set[str]:
    client, [parent] = open_client(settings), parents(settings)
    shown = client.list_artifacts(parent.info.run_id)
    inside = [
        each for folder in shown if folder.is_dir for each in client.list_artifacts(parent.info.run_id, folder.path)
    ]
    return {each.path for each in [*shown, *inside] if not each.is_dir}


def drawn(settings: Settings, name: str) -> Files:
    return lambda ended: {"report.html": f"{name} {ended and ended['state']}".encode(), "figures/history.png": b"drawn"}


def undrawable(settings: Settings, name: str) -> Files:
    raise ValueError("nobody can draw this")


def endless(settings: Settings, name: str) -> Files:
    time.sleep(3600)
    raise AssertionError("nobody waits for this")


def test_report_and_figures_are_on_the_parent_run_at_the_end(settings: Settings, dataset: Dataset) -> None:
    tracker = MlflowTracker(settings, illustrate=drawn)
    tracker.open(make_spec(), dataset, [])
    assert tracker.close({"state": "finished"}, 60)
    assert {"report.html", "figures/history.png"} <= artifacts(settings)
    assert parents(settings)[0].data.tags["bptt.report"] == "report.html"


def test_figures_are_drawn_anew_while_a_sweep_runs_but_only_now_and_then(
    settings: Settings, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tracking.mlflow.FIRST_REPORT_S", 0.0)
    asked: list[Mapping[str, Any] | None] = []

    def draw(settings: Settings, name: str) -> Files:
        def files(ended: Mapping[str, Any] | None) -> Mapping[str, bytes]:
            asked.append(ended)
            return drawn(settings, name)(ended)

        return files

    spec = make_spec()
    tracker = MlflowTracker(settings, connect=RunsHere, draw=DrawnHere, illustrate=draw)
    trial = make_trial(spec)
    tracker.open(spec, dataset, [trial])
    for _ in range(8):
        evaluate(trial)
        tracker.changed(trial)
        time.sleep(0.4)
    assert asked == [None]
    assert tracker.close({"state": "finished"}, 60)
    assert asked == [None, {"state": "finished"}]


def test_a_report_that_cannot_be_drawn_is_told_by_a_tag_and_keeps_nothing_from_being_shown(
    settings: Settings, dataset: Dataset
) -> None:
    tracker = MlflowTracker(settings, connect=RunsHere, draw=DrawnHere, illustrate=undrawable)
    tracker.open(make_spec(), dataset, [])
    assert tracker.close({"state": "finished"}, CLOSE_WITHIN_S)
    [parent] = parents(settings)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["bptt.report"] == "not drawn: nobody can draw this"


def test_whoever_closes_in_a_hurry_waits_for_no_figures(settings: Settings, dataset: Dataset) -> None:
    tracker = MlflowTracker(settings, connect=RunsHere, draw=DrawnHere, illustrate=drawn)
    tracker.open(make_spec(), dataset, [])
    assert tracker.close({"state": "interrupted"}, 15.0)
    assert "report.html" not in artifacts(settings)


def test_figures_are_drawn_while_the_model_is_registered(
    settings: Settings, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_at_once = threading.Barrier(2, timeout=20)

    class Begun(DrawnHere):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            both_at_once.wait()

    def try_out(runs: RunsHere, model: Model) -> str:
        both_at_once.wait()
        return "it was only tried"

    monkeypatch.setattr(RunsHere, "try_out", try_out)
    tracker = MlflowTracker(settings, connect=RunsHere, draw=Begun, illustrate=drawn)
    spec = make_spec()
    trial = make_trial(spec, evaluations=1)
    tracker.open(spec, dataset, [trial])
    end(trial)
    tracker.changed(trial)
    with pytest.raises(BpttError, match="it was only tried"):
        tracker.register(Model(trial, b"", "language_model", {}))
    assert tracker.close({"state": "finished"}, CLOSE_WITHIN_S)
    assert "report.html" in artifacts(settings)


def test_what_is_drawn_is_shown_by_a_server_that_was_away(
    settings: Settings, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = RunsHere.illustrate
    tries: list[None] = []

    def illustrate(runs: RunsHere, files: Mapping[str, bytes] | str, winner: int | None = None) -> None:
        tries.append(None)
        if len(tries) == 1:
            raise ConnectionError("the server is away")
        shown(runs, files, winner)

    monkeypatch.setattr(RunsHere, "illustrate", illustrate)
    tracker = MlflowTracker(settings, connect=RunsHere, illustrate=drawn)
    tracker.open(make_spec(), dataset, [])
    assert tracker.close({"state": "finished"}, CLOSE_WITHIN_S)
    assert len(tries) == 2
    assert parents(settings)[0].data.tags["bptt.report"] == "report.html"


def test_a_drawing_that_hangs_is_given_up_with_its_process(
    settings: Settings, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tracking.mlflow.TIME_FOR_A_REPORT_S", 2.0)
    tracker = MlflowTracker(settings, connect=RunsHere, illustrate=endless)
    tracker.open(make_spec(), dataset, [])
    tracker.close({"state": "finished"}, 6.0)
    [drawing] = tracker._drawings
    assert isinstance(drawing, RemoteDrawing)
    assert not drawing.is_alive
    assert parents(settings)[0].data.tags["bptt.report"].startswith("not drawn: the process that draws figures died")
