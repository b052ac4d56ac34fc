"""The report as one HTML file: whole, by itself, escaped, and enough to train the winner again."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import run
from orchestrator.database.ledger import Ledger
from orchestrator.database.stints import Stints
from orchestrator.database.writes import Writes
from orchestrator.driver import Driver
from orchestrator.executors.local import LocalExecutor
from orchestrator.report import make_report
from orchestrator.report.html import figures_and_page, html_report
from orchestrator.report.html.reproduce import written
from orchestrator.report.words import answer
from orchestrator.settings import Settings
from orchestrator.spec import spec_from
from orchestrator.sweep_file import StrictLoader
from orchestrator.tracking.base import NoTracker
from orchestrator.trial import TrialState
from tests.orchestrator.recorded import DATASET, Recorded, record_sweep, spec_with
from tests.orchestrator.report.conftest import ALL

NASTY = """<script>alert("1")</script> & $x^2$ 'q'"""
HORIZON = {
    "horizon_decay": 0.8,
    **{f"horizon_norm/distance:{distance}": 0.8**distance for distance in (1, 2, 4, 8)},
    **{f"horizon_bias/length:{length}": 0.5**length for length in (1, 2, 4, 8)},
}
ENDED = [
    Recorded("rnn", 17, [2.8, 2.6], TrialState.PRUNED, "not promising after 2 of 4 evaluations"),
    Recorded("gru", 20, [2.8], TrialState.FAILED, NASTY, learning_rate=0.1),
]


class Reader(HTMLParser):
    """Notes a page's texts by the id of what they stand in, and everything it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.texts: dict[str, str] = {}
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.tags.append(tag)
        self.ids += [known["id"] or ""] if "id" in known else []
        self.loads += [known[name] or "" for name in ("src", "href", "xlink:href") if name in known]
        if tag not in ("meta", "br"):
            self.open.append((tag, known.get("id") or ""))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for _, name in self.open:
            if name:
                self.texts[name] = self.texts.get(name, "") + data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


@pytest.fixture
def ledger(sweep_settings: Settings) -> Ledger:
    trials = [Recorded(**{**fields(each), "metrics": HORIZON}) for each in ALL] + ENDED
    ledger = record_sweep(sweep_settings, trials, spec=spec_with(train={"batch_size": 4}))
    ledger.update("recorded", owner="me", dataset={**DATASET, "source": NASTY})
    stints = Stints(Writes(ledger, "recorded", "me"))
    for trial in range(len(trials)):
        stints.begin(trial, f"host-{trial % 2}/{trial % 3}")
        stints.end(trial, "lost" if trial == 5 else "complete")
    ledger.update("recorded", owner=None)
    return ledger


def fields(trial: Recorded) -> dict[str, Any]:
    return {name: getattr(trial, name) for name in trial.__dataclass_fields__}


def test_the_page_answers_first_and_holds_every_figure(ledger: Ledger) -> None:
    page = html_report(ledger, "recorded")
    reader = read(page)
    report = make_report(ledger, "recorded")
    assert re.search(r'<p class="answer">([^<]+)</p>', page)[1] == answer(report)  # type: ignore[index]
    sections = [
        "history",
        "learning",
        "truncation",
        "importance",
        "settings",
        "front-seconds",
        "front-memory",
        "horizon",
        "timeline",
        "cost",
        "baselines",
        "data",
        "versions",
        "spec",
        "reproduce",
        "elsewhere",
    ]
    assert [name for name in reader.ids if name in sections] == [name for name in sections if name != "versions"]
    assert reader.tags.count("svg") == 9
    assert DATASET["fingerprint"] in reader.texts["data"]
    assert "truncation_length" in reader.texts["spec-yaml"]


def test_the_page_loads_nothing_and_no_two_things_have_one_id(ledger: Ledger) -> None:
    reader = read(html_report(ledger, "recorded"))
    targets = [target for target in reader.loads if not target.startswith("data:")]  # a picture in a figure
    assert all(target.startswith("#") for target in targets)
    assert {"script", "link", "img", "iframe"}.isdisjoint(reader.tags)
    assert len(set(reader.ids)) == len(reader.ids)
    assert {target[1:] for target in targets} <= set(reader.ids)


def test_what_anybody_named_is_escaped_on_the_page_and_in_its_figures(ledger: Ledger) -> None:
    page = html_report(ledger, "recorded")
    assert "<script" not in page
    assert NASTY in read(page).texts["data"]
    assert NASTY in read(page).texts["history"]


def test_the_page_leads_to_runs_and_model(ledger: Ledger) -> None:
    assert read(html_report(ledger, "recorded")).texts["elsewhere-commands"] == "bptt ui recorded"
    ledger.update("recorded", model="models:/recorded/2")
    commands = read(html_report(ledger, "recorded")).texts["elsewhere-commands"].splitlines()
    assert commands == ["bptt ui recorded", "bptt models show recorded/2"]


def test_figures_have_the_colour_of_the_pages_text_and_are_pictures_on_white_elsewhere(
    ledger: Ledger, sweep_settings: Settings
) -> None:
    files = figures_and_page(sweep_settings, "recorded")(None)
    page = files.pop("report.html").decode()
    assert "prefers-color-scheme: dark" in page
    assert "currentColor" in page
    assert "#1b1e23" not in re.sub(r"<style>.*?</style>", "", page, count=1, flags=re.DOTALL)
    assert len(files) == 9
    assert all(name.startswith("figures/") and picture.startswith(b"\x89PNG") for name, picture in files.items())


def test_the_page_says_how_the_sweep_ended_before_the_database_does(sweep_settings: Settings) -> None:
    record_sweep(sweep_settings, [Recorded("gru", 8, [2.0])], state="running")
    files = figures_and_page(sweep_settings, "recorded")
    seen, ended = files(None), files({"state": "finished", "message": "", "model": "models:/recorded/7"})
    assert "So far" in seen.pop("report.html").decode()
    page = ended.pop("report.html").decode()
    assert "So far" not in page
    assert "models:/recorded/7" in page
    assert seen == ended  # one drawing serves both


def test_a_model_registered_before_stays_on_the_page_of_a_sweep_that_was_interrupted(
    ledger: Ledger, sweep_settings: Settings
) -> None:
    ledger.update("recorded", model="models:/recorded/1")
    files = figures_and_page(sweep_settings, "recorded")({"state": "interrupted", "message": "", "model": None})
    assert "models:/recorded/1" in files["report.html"].decode()


@pytest.mark.parametrize("trials", [[], [Recorded("gru", 8, [], None)], [Recorded("gru", 8, [2.0])], ENDED])
def test_a_sweep_with_little_to_tell_has_a_page_too(sweep_settings: Settings, trials: list[Recorded]) -> None:
    assert "</html>" in html_report(record_sweep(sweep_settings, trials, state="running"), "recorded")


def test_two_objectives_conditions_and_far_out_values_are_drawn(sweep_settings: Settings) -> None:
    space = {
        "cell_type": ["rnn", "gru", "lstm"],
        "truncation_length": {"int": [4, 256], "log": True},
        "learning_rate": {"float": [0.0001, 0.1], "log": True},
        "optimizer": ["Adam", "SGD"],
        "momentum": {"float": [0.5, 0.95], "when": {"optimizer": ["SGD"]}},
    }
    kinds = [{"optimizer": "Adam"}, {"optimizer": "SGD", "momentum": 0.9}]
    trials = [
        Recorded(
            "gru", 4 * 2**index, [2.0, 1.0 + index], others=kinds[index % 2], metrics={"valid_accuracy": index / 9}
        )
        for index in range(6)
    ]
    trials.append(Recorded("gru", 8, [1e9], others=kinds[0], metrics={"valid_accuracy": 0.1}))
    spec = spec_with(space=space, objective={"metric": "valid_loss", "cost": "seconds"})
    page = html_report(record_sweep(sweep_settings, trials, spec=spec), "recorded")
    assert read(page).tags.count("svg") == 7


def test_the_winner_is_trained_again_by_the_command_on_the_page_and_comes_to_the_same(
    sweep_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "it's a text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 200)
    monkeypatch.chdir(tmp_path)
    spec = spec_from(
        {
            "name": "small",
            "workload": {"kind": "language_model", "text": text.name},
            "space": {
                "cell_type": ["rnn", "gru"],
                "truncation_length": {"int": [4, 16]},
                "learning_rate": {"float": [1e-4, 1e-2], "log": True},
            },
            "train": {"batch_size": 4, "hidden_size": 8, "dropout": 0.1},
            "budget": {"trials": 2, "sequence_steps": 4000, "evaluations": 2},
            "search": {"sampler": "random"},
        }
    )
    with Driver(sweep_settings, spec, executor=LocalExecutor(2), tracker=NoTracker()) as driver:
        for _ in driver.run():
            pass
    assert driver.outcome is not None
    best = driver.outcome.best
    assert best is not None
    assert run(["report", "small", "--html", "--runs", str(sweep_settings.runs)]) == 0
    reader = read((tmp_path / "small.html").read_text())
    assert "torch" in reader.texts["versions"]
    bptt, *arguments = shlex.split(reader.texts["train-command"].replace("\\\n", " "))
    assert bptt == "bptt"
    assert run([*arguments, "--out", "again"]) == 0
    last = json.loads((tmp_path / "again" / "evaluations.jsonl").read_text().splitlines()[-1])
    assert last["metrics"]["valid_loss"] == best.value("valid_loss")
    assert repr(last["metrics"]["valid_loss"]) in reader.texts["reproduce"]


@pytest.mark.parametrize(
    "value", ["a", "1e3", "null", "yes", "a, b", "[", "1", 1e-5, 0.1 + 0.2, True, None, [24, 48], ""]
)
def test_a_value_in_the_command_is_read_back_as_it_was(value: Any) -> None:
    import yaml

    assert yaml.load(written(value), StrictLoader) == value


@pytest.mark.parametrize("more", [["--json"], ["-o", "x.md"], ["--format", "text"]])
def test_html_with_another_format_is_refused(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "demo", "--html", "x.html", *more]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_matplotlib_is_loaded_only_to_draw() -> None:
    code = (
        "import sys, orchestrator.report, orchestrator.report.html, orchestrator.cli.report_command;"
        "print({'matplotlib', 'optuna', 'sklearn', 'torch'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
