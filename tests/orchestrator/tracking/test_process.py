"""The process that writes to MLflow: silent, replaced when it dies, gone with its driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.settings import Settings
from orchestrator.tracking.client import open_client
from orchestrator.tracking.mlflow import MlflowTracker
from orchestrator.tracking.process import Idleness, RemoteRuns
from orchestrator.tracking.runs import SweepRuns
from tests.orchestrator.conftest import make_spec
from tests.orchestrator.tracking.runs import (
    children,
    end,
    evaluate,
    finish,
    make_trial,
    query,
    wait_for,
)
from workloads.protocol import Dataset


def counting(settings: Settings) -> tuple[MlflowTracker, list[RemoteRuns]]:
    """Return a tracker and the processes that it has made to write."""
    made: list[RemoteRuns] = []

    def connect(chosen: Settings) -> RemoteRuns:
        made.append(RemoteRuns(chosen))
        return made[-1]

    return MlflowTracker(settings, connect=connect), made


@pytest.mark.slow
def test_the_writing_process_is_silent_and_is_replaced_when_it_dies(
    settings: Settings, dataset: Dataset, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = make_spec()
    tracker, made = counting(settings)
    first, second = make_trial(spec, 0, evaluations=3), make_trial(spec, 1)
    tracker.open(spec, dataset, [first])
    wait_for(lambda: (settings.runs / "artifacts").exists())  # its first round is done
    os.kill(made[0]._process.pid, signal.SIGKILL)
    evaluate(second)
    end(first)
    tracker.changed(first)
    tracker.changed(second)
    finish(tracker)
    assert len(made) == 2
    assert not made[1].is_alive
    assert query(settings, "SELECT count(*) FROM metrics WHERE key='valid_loss'") == [(4,)]
    assert query(settings, "PRAGMA journal_mode") == [("wal",)]
    assert children(settings)[0].info.status == "FINISHED"
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_what_was_warmed_up_and_never_opened_is_closed(settings: Settings) -> None:
    tracker, made = counting(settings)
    tracker.warm_up()
    assert made[0].is_alive
    tracker.close({"state": "failed"}, 5.0)
    assert not made[0].is_alive


def test_a_writing_process_that_died_warming_up_is_replaced(settings: Settings, dataset: Dataset) -> None:
    tracker, made = counting(settings)
    tracker.warm_up()
    os.kill(made[0]._process.pid, signal.SIGKILL)
    made[0]._process.wait()
    spec = make_spec()
    trial = make_trial(spec, evaluations=2)
    tracker.open(spec, dataset, [trial])
    end(trial)
    tracker.changed(trial)
    finish(tracker)
    assert len(made) == 2
    assert children(settings)[0].info.status == "FINISHED"


def test_the_writing_process_dies_with_its_driver(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from orchestrator.settings import Settings\n"
        "from orchestrator.tracking.process import RemoteRuns\n"
        f"runs = RemoteRuns(Settings.load({{'runs': {str(tmp_path)!r}}}, environ={{}}))\n"
        "print(runs._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    writer = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    driver.stdout.close()
    wait_for(lambda: not is_running(writer), timeout_s=10)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_warming_up_makes_tables_and_touches_none_that_are_there(tmp_path: Path) -> None:
    fresh = Settings.load({"runs": tmp_path / "fresh"}, environ={})
    SweepRuns(fresh).prepare()
    assert query(fresh, "SELECT count(*) FROM experiments") == [(1,)]
    old = Settings.load({"runs": tmp_path / "old"}, environ={})
    old.runs.mkdir()
    (old.runs / "mlflow.db").write_bytes(b"of another version")
    SweepRuns(old).prepare()
    assert (old.runs / "mlflow.db").read_bytes() == b"of another version"


@pytest.mark.slow
def test_a_process_killed_while_it_makes_the_tables_leaves_a_database_that_can_be_made(tmp_path: Path) -> None:
    """The kill comes at many moments of the making; after each, the tables are made all the same."""
    settings = Settings.load({"runs": tmp_path / "runs"}, environ={})
    file = tmp_path / "runs" / "mlflow.db"
    script = (
        "from orchestrator.settings import Settings\n"
        "from orchestrator.tracking.client import import_mlflow, open_client\n"
        f"settings = Settings.load({{'runs': {str(tmp_path / 'runs')!r}}})\n"
        "import_mlflow(); print('now', flush=True); open_client(settings)"
    )
    for delay in (0.3, 0.9):
        maker = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert maker.stdout is not None
        assert maker.stdout.readline() == b"now\n"
        time.sleep(delay)
        maker.kill()
        maker.wait()
    assert open_client(settings).get_experiment("0").name == "Default"
    assert [path.name for path in file.parent.iterdir() if ".new" in path.name] == []


def test_cores_are_idle_by_their_own_count() -> None:
    idleness = Idleness()
    assert idleness.cores() == 0  # nothing is known yet
    time.sleep(0.3)
    assert 0 <= idleness.cores() <= (os.cpu_count() or 1) * 1.2
