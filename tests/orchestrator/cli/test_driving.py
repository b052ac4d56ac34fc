"""`bptt run`, `resume`, `stop` and `extend`: a sweep's life from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.cli.wishing import want
from orchestrator.database.ledger import Ledger
from orchestrator.database.wishes import WishKind
from orchestrator.errors import UserError
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, spec_from
from orchestrator.standing import standing
from tests.fakes import KIND
from tests.orchestrator.cli.conftest import Bptt
from tests.orchestrator.conftest import make_spec
from tests.orchestrator.recorded import Recorded, record_sweep, spec_with

SweepFile = Callable[[SweepSpec], Path]


def test_a_sweep_runs_in_lines_to_its_summary(bptt: Bptt, sweep_file: SweepFile) -> None:
    answer = bptt("run", sweep_file(make_spec()), "--in-process")
    lines = answer.out.splitlines()
    assert answer.status == 0
    assert lines[0] == "test: preparing the data and starting in this process"
    assert sum(line.startswith("trial ") and " begins: quality" in line for line in lines) == 6
    assert [line.split()[0] for line in lines if " complete: " in line] == [f"[{n}/6]" for n in range(1, 7)]
    assert "test finished: 6 trials (6 complete)" in lines
    assert lines[-1] == "  report  bptt report test"


def test_what_a_submitted_sweep_may_do_is_refused_of_one_that_runs_here(bptt: Bptt, sweep_file: SweepFile) -> None:
    answer = bptt("run", sweep_file(make_spec()), "--in-process", "--allow-local")
    assert answer.status == 2
    assert "only where a sweep is submitted" in answer.err


def test_json_goes_to_stdout_and_lines_to_stderr(bptt: Bptt, sweep_file: SweepFile) -> None:
    answer = bptt("run", sweep_file(make_spec()), "--in-process", "--json")
    summary = json.loads(answer.out)
    assert (summary["name"], summary["state"]) == ("test", "finished")
    assert "test finished" in answer.err


def test_the_report_of_a_run_names_its_best_trial(bptt: Bptt, sweep_file: SweepFile) -> None:
    best = json.loads(bptt("run", sweep_file(make_spec()), "--in-process", "--json").out)["best"]
    report = json.loads(bptt("report", "test", "--json").out)
    assert (report["best"]["trial"], report["best"]["value"]) == (best["trial"], best["value"])
    assert report["baselines"][0]["beaten"] is True


def test_a_report_is_written_in_the_format_of_its_files_name(
    bptt: Bptt, sweep_settings: Settings, tmp_path: Path
) -> None:
    record_sweep(sweep_settings, [Recorded("gru", 8, [1.0])])
    assert bptt("report", "recorded", "-o", tmp_path / "r.md").status == 0
    assert bptt("report", "recorded", "-o", tmp_path / "r.json").status == 0
    assert (tmp_path / "r.md").read_text().startswith("# recorded")
    assert json.loads((tmp_path / "r.json").read_text())["name"] == "recorded"
    assert bptt("report", "recorded").out.startswith("recorded: language_model\n---")
    assert bptt("report", "recorded", "--json", "--format", "markdown").status == 2
    assert bptt("report", "recorded", "-o", tmp_path / "no" / "r.md").status == 2


def test_a_sweep_that_has_ended_is_one_file_that_can_be_copied(
    bptt: Bptt, sweep_file: SweepFile, sweep_settings: Settings
) -> None:
    with start("run", sweep_file(make_spec()), "--in-process") as process:
        process.communicate()
        assert process.returncode == 0
    (sweep_settings.runs / "study.db").rename(copied := sweep_settings.runs / "copied.db")
    left = [path.name for path in sweep_settings.runs.iterdir() if path.name.startswith("study.db-")]
    assert left == []
    shown = bptt("status", "test", "--json", "--study-url", f"sqlite:///{copied}")
    assert json.loads(shown.out)["state"] == "finished"


@pytest.mark.slow
def test_a_killed_run_is_dead_and_resumed_by_name_to_its_end(
    bptt: Bptt, sweep_file: SweepFile, sweep_settings: Settings
) -> None:
    path = sweep_file(make_spec(workload={"kind": KIND, "pause_s": 0.2}))
    with start("run", path, "--in-process", "--workers", "2") as process:
        wait_for_evaluations(process, sweep_settings, 3)
        process.kill()
    assert json.loads(bptt("status", "test", "--json").out)["state"] == "dead"
    answer = bptt("resume", "test", "--in-process")
    assert answer.status == 0
    assert "trial 0 goes on after evaluation" in answer.out
    assert "test finished: 6 trials (6 complete)" in answer.out


@pytest.mark.slow
def test_a_running_sweep_is_stopped_from_another_terminal(
    bptt: Bptt, sweep_file: SweepFile, sweep_settings: Settings
) -> None:
    path = sweep_file(make_spec(workload={"kind": KIND, "pause_s": 0.3}, budget={"trials": 100}))
    with start("run", path, "--in-process") as process:
        wait_for_evaluations(process, sweep_settings, 1)
        held = bptt("run", path, "--in-process")
        extended = bptt("extend", "test", "--trials", 1)
        refused = bptt("extend", "test", "--trials", 1, "--run")
        answer = bptt("stop", "test", "--wait")
        out, err = process.communicate(timeout=20)
    assert (held.status, refused.status) == (2, 2)
    assert f"by process {process.pid}" in held.err
    assert extended.out == "test now has 101 trials\n"
    assert refused.err == "bptt: --run: test is being run already; without --run its driver is told\n"
    assert answer.status == 0
    assert f"asked process {process.pid} on" in answer.out
    assert "test has stopped (interrupted); go on with `bptt resume test`" in answer.out
    assert process.returncode == 130, err
    assert "stopped by `bptt stop`; go on with `bptt resume test`" in out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_in_one_line_how_to_go_on(
    sweep_file: SweepFile, sweep_settings: Settings, bptt: Bptt, number: signal.Signals
) -> None:
    path = sweep_file(make_spec(workload={"kind": KIND, "pause_s": 0.3}))
    with start("run", path, "--in-process") as process:
        wait_for_evaluations(process, sweep_settings, 1)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out.splitlines()[-1].endswith("go on with `bptt resume test`")
    assert err == "stopping after the evaluations under way; once more to stop at once\n"
    assert json.loads(bptt("status", "test", "--json").out)["state"] == "interrupted"


def test_a_second_interrupt_stops_at_once(sweep_file: SweepFile, sweep_settings: Settings, bptt: Bptt) -> None:
    path = sweep_file(make_spec(workload={"kind": KIND, "pause_s": 30}))
    with start("run", path, "--in-process") as process:
        wait_for(process, lambda: bool(begun(sweep_settings)))
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("stopping")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=25)  # less than the evaluation takes
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "bptt: test stopped at once; go on with `bptt resume test`"
    assert json.loads(bptt("status", "test", "--json").out)["state"] == "interrupted"


@pytest.mark.parametrize(
    ("state", "words"),
    [("finished", "is finished\n"), ("running", "is dead; go on with"), ("interrupted", "is interrupted; go on with")],
)
def test_stopping_what_nobody_runs_says_so(bptt: Bptt, sweep_settings: Settings, state: str, words: str) -> None:
    record_sweep(sweep_settings, [Recorded("gru", 8, [1.0])], state=state)
    answer = bptt("stop", "recorded")
    assert answer.status == 0
    assert words in answer.out
    assert not Ledger(sweep_settings.study_url).sweep("recorded").stop_requested


def test_an_extended_sweep_runs_the_trials_added(bptt: Bptt, sweep_file: SweepFile) -> None:
    assert bptt("run", sweep_file(make_spec()), "--in-process").status == 0
    answer = bptt("extend", "test", "--trials", 2)
    assert answer.status == 0
    assert answer.out.startswith("test now has 8 trials; go on with `bptt resume test`")
    again = bptt("resume", "test", "--in-process")
    assert "test finished: 8 trials (8 complete)" in again.out
    at_once = bptt("extend", "test", "--trials", 1, "--run", "--in-process", "--json")
    assert json.loads(at_once.out)["state"] == "finished"
    assert "test finished: 9 trials (9 complete)" in at_once.err


def extend(ledger: Ledger, trials: int, hours: float | None) -> SweepSpec:
    want(ledger, "recorded", WishKind.EXTEND, {"trials": trials, "hours": hours})
    return spec_from(ledger.sweep("recorded").spec)


def test_hours_are_added_to_hours(sweep_settings: Settings) -> None:
    spec = spec_with(budget={"trials": 3, "sequence_steps": 40_000, "evaluations": 4, "hours": 0.5})
    ledger = record_sweep(sweep_settings, [], spec=spec)
    extended = extend(ledger, 2, 1.5)
    assert (extended.budget.trials, extended.budget.hours) == (5, 2.0)
    row = ledger.sweep("recorded")
    assert spec_from(row.spec) == extended
    assert (row.state, row.is_driven) == ("interrupted", False)


@pytest.mark.parametrize(
    ("trials", "hours", "words"),
    [
        (0, 1.0, "no limit of hours"),
        (2_000_000, None, "budget.trials"),
        (0, -1.0, "--hours: -1"),
        (0, 0.0, "--hours: 0"),
    ],
)
def test_a_budget_that_cannot_be_is_refused_and_changes_nothing(
    sweep_settings: Settings, trials: int, hours: float | None, words: str
) -> None:
    ledger = record_sweep(sweep_settings, [])
    before = ledger.sweep("recorded")
    with pytest.raises(UserError, match=words):
        extend(ledger, trials, hours)
    after = ledger.sweep("recorded")
    assert (after.spec, after.state, after.is_driven) == (before.spec, before.state, False)


def test_a_grid_that_is_tried_whole_cannot_be_extended(sweep_settings: Settings) -> None:
    space = {"cell_type": ["rnn", "gru"], "truncation_length": [8, 16]}
    spec = spec_with(space=space, search={"sampler": "grid"})
    with pytest.raises(UserError, match="the grid of recorded has 4 settings"):
        extend(record_sweep(sweep_settings, [], spec=spec), 1, None)


def test_extending_by_nothing_is_refused(bptt: Bptt, sweep_settings: Settings) -> None:
    record_sweep(sweep_settings, [])
    assert bptt("extend", "recorded").err == "bptt: --trials or --hours: say how much more\n"


@contextmanager
def start(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Start `bptt` in a process of its own, gone afterwards; the test's settings are in the environment."""
    code = "from orchestrator.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def begun(settings: Settings) -> list[int]:
    """Return the number of evaluations of each trial that has begun."""
    if not (settings.runs / "study.db").exists():
        return []
    try:
        ledger = Ledger(settings.study_url)
        seen = standing(ledger, ledger.sweep("test"))
    except UserError:
        return []
    return [len(trial.evaluations) for trial in seen.trials]


def wait_for_evaluations(process: subprocess.Popen[str], settings: Settings, count: int) -> None:
    wait_for(process, lambda: sum(begun(settings)) >= count)


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Wait until a process got as far as a test needs it."""
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)
