"""The live views in real terminals of many kinds, seen through a terminal emulator."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import yaml

from orchestrator.database.lease import Lease
from orchestrator.database.ledger import Ledger
from orchestrator.database.stints import Stints
from orchestrator.database.writes import Writes
from orchestrator.search.study import SweepStudy
from orchestrator.settings import Settings
from orchestrator.spec import spec_from
from orchestrator.trial import TrialState
from tests.fakes import KIND
from tests.orchestrator.conftest import make_spec
from tests.orchestrator.recorded import SPEC, Recorded, record_sweep, spec_with
from tests.terminal import PROJECT, Terminal

pytestmark = pytest.mark.slow

ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;[0-9;]*)?m")
WHY = "its best after 2 of 4 evaluations, 2.600, is worse than the median of 4 trials, 2.100"
TRIALS = [
    *(Recorded("lstm", 64, [2.5, 2.0, 1.7, value]) for value in (1.9, 1.8, 1.6, 1.5)),
    Recorded("rnn", 17, [], TrialState.FAILED, "KeyError: 'what the user forgot'"),
    Recorded("gru", 20, [2.7], TrialState.DIVERGED, "valid_loss is nan"),
    Recorded("rnn", 17, [2.8, 2.6], TrialState.PRUNED, WHY),
]
WORKERS = 20


class Driven:
    """A sweep in a database that this process says it drives: seven trials have ended, twenty are under way."""

    def __init__(self, folder: Path) -> None:
        self.runs = folder
        settings = Settings.load({"runs": folder}, environ={})
        spec = spec_with(budget={**SPEC["budget"], "trials": 60})
        self.ledger = record_sweep(
            settings, [*TRIALS, *([Recorded("gru", 20, [2.7, 2.4], state=None)] * WORKERS)], spec=spec
        )
        self.lease = Lease(self.ledger, "recorded")
        self.lease.take()
        self.ledger.update("recorded", expires=time.time() + 600)
        self.stints = Stints(Writes(self.ledger, "recorded", self.lease.owner))
        self.stints.begin(6, f"host/{WORKERS + 1}")
        self.stints.end(6, TrialState.PRUNED)
        for place in range(WORKERS):
            self.stints.begin(len(TRIALS) + place, f"host/{place + 1}")

    def watch(self, columns: int, rows: int = 24, **variables: str) -> Terminal:
        return Terminal(
            *("status", "recorded", "--watch", "--runs", self.runs), columns=columns, rows=rows, variables=variables
        )


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Driven:
    return Driven(tmp_path_factory.mktemp("driven"))


@pytest.fixture(scope="module")
def watched(driven: Driven) -> Iterator[dict[str, Terminal]]:
    """Watch the sweep in terminals of all kinds at once."""
    with ExitStack() as opened:
        yield {
            kind: opened.enter_context(closing(terminal))
            for kind, terminal in {
                "40": driven.watch(40),
                "80": driven.watch(80),
                "160": driven.watch(160, 50),
                "no colour": driven.watch(80, NO_COLOR="1"),
                "dumb": driven.watch(80, TERM="dumb"),
                "ascii": driven.watch(80, PYTHONIOENCODING="ascii"),
            }.items()
        }


def under_way(terminal: Terminal) -> list[list[str]]:
    """Return the lines of trials under way: worker, trial, how far, value, for how long, setting."""
    found = [re.sub("[━╸╺]", "", line).split() for line in terminal.lines]
    return [words for words in found if len(words) > 4 and words[2] == "2/4"]


@pytest.mark.parametrize("width", ["40", "80", "160"])
def test_every_width_shows_workers_ends_and_the_best(watched: dict[str, Terminal], width: str) -> None:
    terminal = watched[width]
    terminal.shows("ended last", "pruned: its best after 2 of 4", "trials   7/60", "1 pruned", "20 under way")
    assert terminal.lines[0] == "recorded: language_model"
    assert "valid_loss 1.500, trial 3" in terminal.text
    assert "cell_type lstm, truncation_length 64" in " ".join(terminal.text.split())
    shown = under_way(terminal)
    assert shown[0][:4] == ["1", "7", "2/4", "2.400"]
    assert shown[0][5] in ("s", "min")
    if width == "160":
        assert len(shown) == WORKERS
        assert shown[0][6:] == ["gru", "20", "0.01"]
        assert "KeyError: 'what the user forgot'" in terminal.text
    else:
        assert len(shown) >= 3
        assert f"and {WORKERS - len(shown)} more under way" in terminal.text
    assert "idle  worker 21 for" in terminal.text


def test_a_reason_that_has_no_room_goes_on_in_the_next_line(watched: dict[str, Terminal]) -> None:
    watched["40"].shows("ended last")
    said = watched["40"].text.partition("ended last")[2]
    assert WHY in " ".join(said.split())


def test_a_terminal_without_colours_gets_none(watched: dict[str, Terminal]) -> None:
    for kind in ("no colour", "80"):
        watched[kind].shows("ended last")
    assert not COLOUR.search(watched["no colour"].written)
    assert COLOUR.search(watched["80"].written)


def test_a_terminal_that_can_do_nothing_gets_lines(watched: dict[str, Terminal]) -> None:
    terminal = watched["dumb"]
    terminal.shows("recorded running: 7/60 trials ended")
    assert ESCAPE not in terminal.written


def test_a_terminal_that_knows_no_such_characters_gets_others(watched: dict[str, Terminal]) -> None:
    terminal = watched["ascii"]
    terminal.shows("ended last", "more under way")
    assert terminal.written.isascii()


def test_a_pipe_gets_lines_without_control_characters(driven: Driven) -> None:
    command = [sys.executable, "-m", "orchestrator.cli", "status", "recorded", "--runs", str(driven.runs)]
    answer = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(PROJECT)}, capture_output=True, text=True, check=True
    )
    assert ESCAPE not in answer.stdout
    lines = answer.stdout.splitlines()
    assert f"    6  pruned: {WHY}" in lines
    [first] = [line.split() for line in lines if line.split()[:1] == ["7"]]
    assert first[:4] == ["7", "2/4", "2.400", "host/1"]
    assert first[-6:] == ["cell_type", "gru,", "truncation_length", "20,", "learning_rate", "0.01"]
    assert any(line.split()[:2] == ["host/21", "idle"] for line in lines)


def test_a_watched_sweep_goes_on_is_resized_and_leaves_its_last_standing_behind(tmp_path: Path) -> None:
    driven = Driven(tmp_path)
    with closing(driven.watch(80)) as terminal:
        terminal.shows("ended last", "more under way")
        for columns, rows in ((40, 20), (160, 50), (60, 12), (80, 24)):
            terminal.resize(columns, rows)
            bottom = f"{WORKERS} under way" if rows == 12 else "ended last"
            terminal.shows("recorded: language_model", bottom)
            terminal.until(lambda: len(under_way(terminal)) == len({words[0] for words in under_way(terminal)}), 5, "")
            assert terminal.lines[0] == "recorded: language_model"
            assert terminal.text.count("trials   7/60") == 1
        end_one(driven.ledger, driven.lease.owner)
        terminal.shows("trials   8/60", "diverged: the loss became nan")
        driven.lease.give_back("interrupted", "")
        assert terminal.ended() == 0
        assert terminal.text.count("trials   8/60") == 1
        assert "interrupted: go on with `bptt resume recorded" in terminal.text.replace("\n", "")


def end_one(ledger: Ledger, owner: str) -> None:
    """End the first of the trials under way."""
    study = SweepStudy(ledger, spec_with(budget={**SPEC["budget"], "trials": 60}), owner)
    study.tell(study.records()[len(TRIALS)], TrialState.DIVERGED, "the loss became nan")


def write_sweep(folder: Path) -> Path:
    """Write a sweep that takes a while, some of whose trials are pruned."""
    spec = make_spec(
        name="watched",
        workload={"kind": KIND, "pause_s": 0.1},
        space={
            "quality": {"float": [0.1, 100.0]},
            "cell_type": ["rnn", "gru", "lstm"],
            "truncation_length": {"int": [8, 256]},
        },
        search={"sampler": "random", "pruner": "median", "seed": 1},
        budget={"trials": 200, "sequence_steps": 9000, "evaluations": 9},
    )
    path = folder / "watched.yaml"
    path.write_text(yaml.safe_dump(spec.plain()))
    return path


def test_a_run_is_shown_in_its_terminal_and_stops(tmp_path: Path) -> None:
    command = ("run", write_sweep(tmp_path), "--in-process", "--workers", 2, "--runs", tmp_path)
    variables = {"BPTT_TRACKING_URI": "none"}
    with closing(Terminal(*command, columns=80, rows=24, variables=variables)) as terminal:
        terminal.shows("sampler random, pruner median", "2 under way", "Ctrl-C stops", "pruned: its best after")
        [header] = [line for line in terminal.lines if line.startswith("worker")]
        assert header.split() == ["worker", "trial", "progress", "loss", "for", "type", "length", "quality"]
        two = re.compile(r" +[12] +\d+ .* \d/9 ")  # but for a moment in which one is between two trials
        terminal.until(lambda: sum(map(bool, map(two.match, terminal.lines))) == 2, 5, "two workers do not train")
        for columns in (40, 160):
            terminal.resize(columns, 24)
            width = "done" if columns == 40 else "progress"
            terminal.shows("2 under way", width, "worker", "best  valid_loss")
            terminal.until(lambda: terminal.text.count("\nworker ") == 1, 5, "a torn view was left behind")
            assert terminal.text.count("sampler random") <= 1
            assert re.search(r"\[\d+/200\] trial \d+ (pruned|complete): ", terminal.text)
        terminal.interrupt()
        assert terminal.ended() == 130
        assert "watched stopped after" in terminal.text
        assert "\nworker " not in terminal.text


def test_what_ended_before_is_said_when_a_sweep_goes_on(tmp_path: Path) -> None:
    settings = Settings.load({"runs": tmp_path}, environ={})
    path = write_sweep(tmp_path)
    ledger = Ledger(settings.study_url)
    spec = spec_from(yaml.safe_load(path.read_text()))
    ledger.create(spec.name, spec.plain())
    ledger.update(spec.name, owner="before")
    study = SweepStudy(ledger, spec, "before")
    trial = study.ask()
    study.tell(trial, TrialState.PRUNED, "it was not promising")
    ledger.update(spec.name, owner=None, state="interrupted")
    command = ("run", path, "--in-process", "--runs", tmp_path)
    with closing(Terminal(*command, columns=80, rows=24, variables={"BPTT_TRACKING_URI": "none"})) as terminal:
        terminal.shows("before: trial 0 pruned: it was not promising", "1 under way")
        terminal.interrupt()
        assert terminal.ended() == 130
