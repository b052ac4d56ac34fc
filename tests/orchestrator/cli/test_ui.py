"""`bptt ui`: up with a line, down with Ctrl-C, its mistakes told in one line."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import dashboard, ui_command
from orchestrator.cli.main import run
from orchestrator.database.ledger import Ledger
from orchestrator.errors import BpttError, UserError
from orchestrator.settings import Settings
from orchestrator.tracking.client import open_client
from orchestrator.tracking.places import EXPERIMENTS, newest_runs, sweep_run
from tests.orchestrator.recorded import Recorded, record_sweep


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    open_client(Settings.load({"runs": folder}, environ={}))
    return folder


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def alive_in_session(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="child processes are looked up in /proc")
def test_the_server_comes_up_and_goes_with_all_its_children(runs: Path) -> None:
    port = free_port()
    ui = ["ui", "--runs", str(runs), "--port", str(port), "--no-browser"]
    process = subprocess.Popen([sys.executable, "-m", "orchestrator.cli", *ui], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert f"http://127.0.0.1:{port}" in line
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=30) as answer:
            assert answer.read() == b"OK"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert not alive_in_session(int(children[0]))
    finally:
        process.kill()


@pytest.mark.slow
def test_optunas_pages_are_shown_beside_mlflows_where_they_are_installed(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard", reason="the extra `dashboard` is not installed")
    settings = Settings.load({"runs": tmp_path / "runs"}, environ={})
    open_client(settings)
    record_sweep(settings, [Recorded("lstm", 16, [2.0, 1.5])])
    ui = ["ui", "--runs", str(settings.runs), "--port", str(free_port()), "--no-browser"]
    process = subprocess.Popen([sys.executable, "-m", "orchestrator.cli", *ui], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        found = re.search(r"optuna-dashboard at (http\S+)dashboard/", process.stdout.readline())
        assert found is not None
        with urllib.request.urlopen(f"{found[1]}api/studies", timeout=30) as answer:
            assert [study["study_name"] for study in json.load(answer)["study_summaries"]] == ["recorded"]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(f"{found[1]}api/studies", timeout=5)
    finally:
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_block_once_and_is_put_back(number: int) -> None:
    before = signal.getsignal(number)
    cleaned = []
    with ui_command.closed_by_signals():
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)  # a second one, while the server is being ended
            cleaned.append(True)
    assert cleaned == [True]
    assert signal.getsignal(number) == before


def test_a_server_that_ends_by_itself_is_reported_and_cleaned_up(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert run(["ui", "--runs", str(runs), "--port", str(free_port())]) == 1
    assert "the MLflow server did not start: it said nothing" in capsys.readouterr().err


def test_a_process_that_ignores_the_first_signal_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui_command, "STOPPING_S", 0.5)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    began = time.monotonic()
    ui_command.end_group(process)
    assert process.returncode == -signal.SIGKILL
    assert time.monotonic() - began < 10


def test_a_port_that_is_taken_is_answered_with_another(
    runs: Path, taken: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ui", "--runs", str(runs), "--port", str(taken)]) == 2
    errors = capsys.readouterr().err
    assert f"nothing can listen on 127.0.0.1:{taken}" in errors
    other = int(errors.rsplit("--port", 1)[1])
    assert taken < other < taken + 100


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "run a sweep first"),
        (["--tracking-uri", "none"], "tracking is switched off"),
        (["--tracking-uri", "./mlruns"], "--tracking-uri: './mlruns'"),
        (["--port", "99999"], "--port"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ui", "--runs", str(tmp_path), *arguments]) == 2
    errors = capsys.readouterr().err
    assert expected in errors
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_is_not_this_machine_is_refused(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ui", "--runs", str(runs), "--host", "256.1.1.1"]) == 2
    assert "--host: '256.1.1.1'" in capsys.readouterr().err


def test_a_tracking_server_is_only_pointed_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ui", "--tracking-uri", "http://mlflow.example:5000"]) == 0
    assert capsys.readouterr().out == f"MLflow is at http://mlflow.example:5000{EXPERIMENTS}\n"


def test_addresses_are_those_a_browser_can_open() -> None:
    assert ui_command.address("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert ui_command.address("::1", 80) == "http://[::1]:80"
    assert ui_command.address("localhost", 5000) == "http://localhost:5000"


def test_a_dashboard_that_cannot_be_shown_is_a_mistake_only_where_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.load({"runs": tmp_path}, environ={})
    assert "there are no sweeps yet" in dashboard.obstacle(settings)
    Ledger(settings.study_url)
    monkeypatch.setattr(dashboard, "is_installed", lambda: False)
    with dashboard.dashboard(settings, "127.0.0.1", 5000, wanted=None) as address:
        assert address is None
    with pytest.raises(UserError, match=r"--dashboard: .* pip install 'bptt\[dashboard\]'"):
        dashboard.dashboard(settings, "127.0.0.1", 5000, wanted=True).__enter__()


def test_a_dashboard_that_breaks_down_costs_itself_alone_where_nobody_asked_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings.load({"runs": tmp_path}, environ={})
    Ledger(settings.study_url)
    monkeypatch.setattr(dashboard, "is_installed", lambda: True)
    monkeypatch.setattr(dashboard, "SERVE", "raise SystemExit('out of order')")
    with dashboard.dashboard(settings, "127.0.0.1", free_port(), wanted=None) as address:
        assert address is None
    assert "optuna-dashboard did not start: out of order; going on without it" in capsys.readouterr().err
    with pytest.raises(BpttError, match="out of order"):
        dashboard.dashboard(settings, "127.0.0.1", free_port(), wanted=True).__enter__()


def test_a_password_is_not_shown() -> None:
    assert "secret" not in ui_command.shown("postgresql://me:secret@host/mlflow")


def made_run(settings: Settings, experiment: str, sweep: str, began: int) -> tuple[str, str]:
    client = open_client(settings)
    found = client.get_experiment_by_name(experiment)
    home = found.experiment_id if found else client.create_experiment(experiment)
    run = client.create_run(home, start_time=began, tags={"bptt.sweep": sweep, "bptt.role": "sweep"})
    return home, run.info.run_id


def test_the_page_is_that_of_what_was_swept_last_or_of_the_sweep_that_is_named(tmp_path: Path) -> None:
    settings = Settings.load({"runs": tmp_path}, environ={})
    assert newest_runs(settings) == EXPERIMENTS
    forecasts, _ = made_run(settings, "bptt/forecast", "weather", 1)
    texts, old = made_run(settings, "bptt/language_model", "demo", 2)
    _, new = made_run(settings, "bptt/language_model", "demo", 3)
    assert newest_runs(settings) == f"/#/experiments/{texts}/runs"
    made_run(settings, "bptt/forecast", "weather", 4)
    assert newest_runs(settings) == f"/#/experiments/{forecasts}/runs"
    assert sweep_run(settings, "demo") == f"/#/experiments/{texts}/runs/{new}"
    assert old != new


def test_a_sweep_that_mlflow_does_not_have_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings.load({"runs": tmp_path}, environ={})
    open_client(settings)
    record_sweep(settings, [Recorded("lstm", 16, [2.0, 1.5])])
    runs = ["--runs", str(tmp_path)]
    assert run(["ui", "recorded", *runs]) == 2
    assert "MLflow has no run of the sweep 'recorded'" in capsys.readouterr().err
    assert run(["ui", "nothing", *runs]) == 2
    assert "nothing" in capsys.readouterr().err
