"""`bptt status` and `bptt list`: how sweeps stand, seen from outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli.logs_command import whereabouts
from orchestrator.cli.status_command import watch_in_lines
from orchestrator.database.lease import Lease
from orchestrator.database.ledger import Ledger
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec, WorkloadSpec
from orchestrator.standing import Standing, standing
from orchestrator.trial import TrialState
from tests.orchestrator.cli.conftest import Bptt
from tests.orchestrator.recorded import Recorded, record_sweep, spec_with

TRIALS = [
    Recorded("lstm", 64, [2.5, 2.0, 1.7, 1.5]),
    Recorded("rnn", 17, [2.8, 2.6], TrialState.PRUNED, "not promising"),
    Recorded("gru", 20, [2.7, 2.4], state=None),
]


@pytest.mark.parametrize("command", ["status", "stop", "resume", "report", "extend"])
def test_looking_makes_no_database(bptt: Bptt, sweep_settings: Settings, command: str) -> None:
    answer = bptt(command, "demo", *(["--trials", 1] if command == "extend" else []))
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("bptt: there are no sweeps yet")
    assert not sweep_settings.runs.exists()


def test_a_list_of_nothing_says_what_to_do(bptt: Bptt, sweep_settings: Settings) -> None:
    assert "bptt run demo" in bptt("list").out
    assert json.loads(bptt("list", "--json").out) == []
    assert not sweep_settings.runs.exists()


def test_a_file_that_is_no_database_is_one_line(bptt: Bptt, sweep_settings: Settings) -> None:
    sweep_settings.runs.mkdir()
    (sweep_settings.runs / "study.db").write_text("this is a text and no database at all\n" * 100)
    answer = bptt("list")
    assert answer.status == 2
    assert answer.err.startswith("bptt: study_url: ")
    assert answer.err.count("\n") == 1


def test_a_database_password_is_not_shown(bptt: Bptt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPTT_STUDY_URL", "postgresql://me:secret@127.0.0.1:1/none")
    answer = bptt("list")
    assert answer.status == 1
    assert "secret" not in answer.out + answer.err


def test_the_list_has_a_line_for_each_sweep(bptt: Bptt, sweep_settings: Settings) -> None:
    record_sweep(sweep_settings, TRIALS, state="interrupted")
    record_sweep(sweep_settings, TRIALS[:1], spec=spec_with(name="other"), state="running")
    lines = bptt("list").out.splitlines()
    assert lines[1].split()[:6] == ["recorded", "language_model", "interrupted", "2/12", "valid_loss", "1.500"]
    assert lines[2].split()[:3] == ["other", "language_model", "dead"]
    assert [entry["name"] for entry in json.loads(bptt("list", "--json").out)] == ["recorded", "other"]


def test_a_sweep_of_two_objectives_is_shown_by_its_quality_everywhere(bptt: Bptt, sweep_settings: Settings) -> None:
    spec = spec_with(objective={"metric": "valid_loss", "cost": "seconds"})
    record_sweep(sweep_settings, TRIALS, spec=spec, state="interrupted")
    assert bptt("list").out.splitlines()[1].split()[4:6] == ["valid_loss", "1.500"]
    assert "valid_loss 1.500, trial 0" in bptt("status", "recorded").out
    seen = json.loads(bptt("status", "recorded", "--json").out)
    assert (seen["metric"], seen["cost"], seen["best"]["value"]) == ("valid_loss", "seconds", 1.5)
    answer = bptt("report", "recorded")
    assert answer.status == 0
    assert "Quality for its training time" in answer.out


def test_a_spec_that_can_no_longer_be_read_does_not_hide_the_other_sweeps(bptt: Bptt, sweep_settings: Settings) -> None:
    ledger = record_sweep(sweep_settings, TRIALS[:1])
    ledger.create("foreign", {"name": "foreign", "workload": {"kind": "no.such.module:Name"}, "space": {}})
    answer = bptt("list")
    assert answer.status == 0
    assert [line.split()[0] for line in answer.out.splitlines()] == ["name", "recorded", "foreign"]


def test_the_status_says_who_runs_the_sweep(bptt: Bptt, sweep_settings: Settings) -> None:
    ledger = record_sweep(sweep_settings, TRIALS)
    lease = Lease(ledger, "recorded")
    lease.take()
    host, pid, *_ = lease.owner.split(":")
    text = bptt("status", "recorded").out
    assert f"running, by process {pid} on {host}" in text
    assert "2 of 12 ended: 1 complete, 1 pruned, 1 under way" in text
    assert "valid_loss 1.500, trial 0" in text
    assert text.splitlines()[-1].split()[:4] == ["2", "2/4", "2.400", "cell_type"]
    seen = json.loads(bptt("status", "recorded", "--json").out)
    assert seen["driver"] == {"host": host, "pid": int(pid)}
    assert seen["trials"] == {"begun": 3, "ended": 2, "by_state": {"complete": 1, "running": 1, "pruned": 1}}
    assert (seen["best"]["value"], seen["ahead"], seen["under_way"][0]["trial"]) == (1.5, None, 2)


def test_while_no_trial_is_complete_the_status_has_the_one_ahead(bptt: Bptt, sweep_settings: Settings) -> None:
    paused = [
        Recorded("gru", 20, [2.7, 2.4], TrialState.PAUSED),
        Recorded("lstm", 64, [2.5], TrialState.PAUSED),
        Recorded("rnn", 17, [2.0], TrialState.PRUNED, "not promising"),
    ]
    record_sweep(sweep_settings, paused, state="interrupted")
    text = bptt("status", "recorded").out
    assert "valid_loss 2.400 after 2 of 4 evaluations, trial 0" in text
    assert "cell_type gru, truncation_length 20" in text
    seen = json.loads(bptt("status", "recorded", "--json").out)
    assert (seen["best"], seen["ahead"]["trial"], seen["ahead"]["value"]) == (None, 0, 2.4)
    assert "ahead valid_loss 2.400 after 2 of 4" in bptt("status", "recorded", "--watch").out


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("running", "dead: its driver is gone; go on with `bptt resume recorded`"),
        ("interrupted", "interrupted: go on with `bptt resume recorded`"),
        ("finished", "finished: see `bptt report recorded`"),
    ],
)
def test_the_status_says_what_to_do_next(bptt: Bptt, sweep_settings: Settings, state: str, words: str) -> None:
    record_sweep(sweep_settings, TRIALS, state=state)
    text = bptt("status", "recorded").out
    assert words in text
    assert "1 unfinished" in text


def test_what_to_type_next_repeats_the_flags_given(bptt: Bptt, sweep_settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    record_sweep(Settings.load({"runs": folder}, environ={}), TRIALS)
    assert f"`bptt report recorded --runs '{folder}'`" in bptt("status", "recorded", "--runs", folder).out


def test_a_sweep_goes_by_its_files_name_too(
    bptt: Bptt, sweep_settings: Settings, sweep_file: Callable[[SweepSpec], Path]
) -> None:
    record_sweep(sweep_settings, TRIALS)
    assert bptt("status", sweep_file(spec_with())).out.startswith("recorded: language_model")


@pytest.mark.parametrize("is_file", [False, True])
def test_a_sweep_is_looked_after_where_the_users_own_workload_is_not(
    is_file: bool, bptt: Bptt, sweep_settings: Settings, sweep_file: Callable[[SweepSpec], Path]
) -> None:
    spec = spec_with().model_copy(update={"workload": WorkloadSpec(kind="at_home:Task")})
    record_sweep(sweep_settings, TRIALS, spec=spec, state="running")
    sweep = sweep_file(spec) if is_file else "recorded"
    status = bptt("status", sweep)
    assert status.status == 0
    assert status.out.startswith("recorded: at_home:Task")
    assert "valid_loss 1.500, trial 0" in status.out
    assert bptt("list").out.splitlines()[1].split()[:6] == [
        "recorded", "at_home:Task", "dead", "2/12", "valid_loss", "1.500"
    ]  # fmt: skip
    assert whereabouts(sweep_settings, str(sweep)) == ("recorded", "", "")
    ended = bptt("stop", sweep, "--trial", 1)
    assert ended.err == "bptt: --trial 1: it has ended already (pruned); `bptt enqueue` tries its setting anew\n"
    assert bptt("stop", sweep).out.startswith("recorded is not running: it is dead")
    assert "interrupted" in bptt("status", sweep).out


def test_logs_of_a_file_need_no_workload_where_there_is_no_database(
    sweep_settings: Settings, sweep_file: Callable[[SweepSpec], Path]
) -> None:
    spec = spec_with().model_copy(update={"workload": WorkloadSpec(kind="at_home:Task")})
    assert whereabouts(sweep_settings, str(sweep_file(spec))) == ("recorded", "", "")


def test_an_unknown_name_is_answered_with_those_there_are(bptt: Bptt, sweep_settings: Settings) -> None:
    record_sweep(sweep_settings, TRIALS)
    answer = bptt("status", "nobody")
    assert answer.status == 2
    assert answer.err == "bptt: no sweep is called nobody; there are recorded\n"


def test_watching_a_sweep_that_nobody_runs_ends_at_once(bptt: Bptt, sweep_settings: Settings) -> None:
    record_sweep(sweep_settings, TRIALS)
    assert bptt("status", "recorded", "--watch").out == (
        "recorded finished: 2/12 trials ended (1 complete, 1 pruned, 1 unfinished), 8 evaluations; "
        "best valid_loss 1.500\n"
    )


def test_watching_prints_a_line_when_something_changed_until_the_driver_leaves(
    sweep_settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = record_sweep(sweep_settings, TRIALS)
    lease = Lease(ledger, "recorded")
    lease.take()
    looks = 0

    def look() -> Standing:
        nonlocal looks
        looks += 1
        if looks == 3:
            lease.give_back("interrupted", "")
        return standing(ledger, ledger.sweep("recorded"))

    watch_in_lines(look, as_json=False, pause=lambda seconds: None)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["recorded running", "recorded interrupted"]
    assert looks == 3


def test_a_database_without_sweeps_says_so(bptt: Bptt, sweep_settings: Settings) -> None:
    Ledger(sweep_settings.study_url)
    assert bptt("status", "demo").err.startswith("bptt: no sweep is called demo; there are none yet")
