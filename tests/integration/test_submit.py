"""Sweeps submitted to a real Ray head with token authentication: sent, watched, killed, stopped and kept going."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import read_sweep
from orchestrator.standing import standing
from tests import fakes, kubernetes

pytestmark = pytest.mark.slow

TOKEN, SECRET = "0123456789abcdef" * 2, "hunter2hunter2"
SLOW = {"kind": "scripted_workload:Scripted", "pause_s": 1.0}
TRIALS, EVALUATIONS = 4, 5


@dataclass(frozen=True)
class Head:
    """A Ray head, and a folder whose files it was started beside."""

    address: str
    folder: Path


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_head(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    port, dashboard, *agents = free_ports(6)
    names = (
        "dashboard-agent-grpc-port",
        "dashboard-agent-listen-port",
        "metrics-export-port",
        "runtime-env-agent-port",
    )
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
    command += ["--no-monitor", f"--port={port}", f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1"]
    command += [f"--temp-dir={folder}/ray", "--num-cpus=2"]
    command += [f"--{name}={agent}" for name, agent in zip(names, agents, strict=True)]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("BPTT_", "RAY_", "PYTHONPATH"))}
    python = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**plain, "PATH": python, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    environment |= {"RAY_raylet_start_wait_time_s": "120", "OMP_NUM_THREADS": "1"}
    with (folder / "head.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    return process, f"http://127.0.0.1:{dashboard}"


def processes_of(folder: Path) -> list[int]:
    """Return the processes whose command line names this folder: the head's own, and no other head's."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"{folder}/ray".encode() in command:
                found.append(int(entry.name))
    return found


def stop_head(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in processes_of(folder):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    # Ray's sockets lie in this folder, and the path of a socket may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="h", dir="/tmp"))
    for _ in range(3):  # on a busy machine Ray's own parts give each other up while they start
        process, address = start_head(folder)
        if is_ready(process, address):
            break
        stop_head(process, folder)
    else:
        pytest.fail((folder / "head.log").read_text()[-3000:])
    try:
        yield Head(address, folder)
    finally:
        stop_head(process, folder)
        shutil.rmtree(folder, ignore_errors=True)


def is_ready(process: subprocess.Popen[bytes], address: str) -> bool:
    """Wait until a job could be submitted: the head's agent comes after its dashboard."""
    code = (
        "import sys; from ray.job_submission import JobSubmissionClient as C\n"
        "c = C(sys.argv[1]); i = c.submit_job(entrypoint='true'); print(i)"
    )
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    end = time.monotonic() + 150
    while time.monotonic() < end and process.poll() is None:
        asked = subprocess.run([sys.executable, "-c", code, address], env=environment, capture_output=True)
        if asked.returncode == 0:
            return True
        time.sleep(2)
    return False


@dataclass
class Terminal:
    """A folder in which commands are typed, beside a database that others see too."""

    head: Head
    folder: Path
    shared: Path

    def environment(self, **changes: str) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("BPTT_", "RAY_"))}
        project = str(Path(fakes.__file__).parents[1])
        kept = {"BPTT_STUDY_URL": f"sqlite:///{self.shared}/study.db", "BPTT_TRACKING_URI": "none"}
        return {**plain, "PYTHONPATH": project, **kept, "RAY_AUTH_TOKEN": TOKEN, **changes}

    def start(self, *arguments: str, **changes: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "orchestrator.cli", *arguments]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(**changes),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def bptt(self, *arguments: str, **changes: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **changes)
        out, err = process.communicate(timeout=240)
        return process.returncode, out, err

    def submit(self, *arguments: str, **changes: str) -> tuple[int, str, str]:
        wanted = ("--address", self.head.address, "--allow-local", "--workers", "1", "--runs", str(self.shared))
        return self.bptt("submit", *arguments, *wanted, **changes)

    def write(self, name: str, **changes: Any) -> str:
        spec = {
            "name": name,
            "workload": {"kind": "scripted_workload:Scripted", "pause_s": 0.2},
            "space": {"quality": {"float": [0.1, 1.0]}},
            "budget": {"trials": TRIALS, "sequence_steps": 5000, "evaluations": EVALUATIONS},
            "search": {"sampler": "random", "pruner": "none", "seed": 3},
        }
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump({**spec, **changes}))
        return f"{name}.yaml"

    def ledger(self) -> Ledger:
        return Ledger(f"sqlite:///{self.shared}/study.db")

    def status(self, name: str) -> dict[str, Any]:
        """Return how a sweep stands, as `bptt status --json` has it; that itself takes seconds on a busy machine."""
        ledger = self.ledger()
        return standing(ledger, ledger.sweep(name)).plain()

    def wait_for(self, name: str, condition: Callable[[dict[str, Any]], bool], timeout_s: float = 120) -> None:
        end = time.monotonic() + timeout_s
        while not condition(seen := self.status(name)):
            assert time.monotonic() < end, seen
            time.sleep(0.2)

    def assert_whole(self, name: str) -> None:
        """Check that every evaluation of every trial is there once."""
        _, trials = read_sweep(self.ledger(), name)
        assert [trial.number for trial in trials] == list(range(TRIALS))
        assert {str(trial.state) for trial in trials} == {"complete"}
        counted = Counter((trial.number, each.evaluation) for trial in trials for each in trial.evaluations)
        assert set(counted.values()) == {1}
        assert len(counted) == TRIALS * EVALUATIONS


@pytest.fixture
def terminal(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    folder, shared = tmp_path / "typed here", tmp_path / "shared"
    folder.mkdir()
    shared.mkdir()
    shutil.copy(fakes.__file__, folder / "scripted_workload.py")
    monkeypatch.syspath_prepend(str(folder))
    return Terminal(head, folder, shared)


def evaluated(at_least: int) -> Callable[[dict[str, Any]], bool]:
    def reached(seen: dict[str, Any]) -> bool:
        best = sum(trial["evaluations"] for trial in seen["under_way"]) + seen["trials"]["ended"] * EVALUATIONS
        return best >= at_least

    return reached


def test_a_submitted_sweep_runs_to_its_end_and_is_followed_from_another_folder(
    terminal: Terminal, tmp_path: Path
) -> None:
    code, out, err = terminal.submit(terminal.write("sent"), BPTT_CHECKPOINTS=f"s3://key:{SECRET}@bucket/x")
    assert (code, err) == (0, ""), out
    assert "sent: its driver runs on the cluster" in out
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(fakes.__file__, tmp_path / "elsewhere" / "scripted_workload.py")
    elsewhere = Terminal(terminal.head, tmp_path / "elsewhere", terminal.shared)
    code, out, err = elsewhere.bptt("status", "sent", "--watch")
    assert (code, err) == (0, "")
    assert out.startswith("sent ")
    driver = terminal.ledger().driver("sent")
    assert driver is not None
    assert (driver.job, driver.address) == ("bptt-sent-1", terminal.head.address)
    code, out, err = elsewhere.bptt("logs", "sent", "-f")
    assert (code, err) == (0, "")
    assert "[4/4] trial 3 complete" in out
    assert "sent finished" in out
    assert out.count("trial 0 begins") == 1
    terminal.assert_whole("sent")
    again = terminal.submit("sent.yaml", "--no-wait")  # a finished sweep is one: nothing is trained twice
    assert again[0] == 0
    assert elsewhere.bptt("logs", "sent", "-f")[0] == 0
    terminal.assert_whole("sent")
    assert subprocess.run(["grep", "-rl", SECRET, f"{terminal.head.folder}/ray"]).returncode == 1


def test_two_terminals_that_submit_at_once_make_one_job(terminal: Terminal) -> None:
    sweep = terminal.write("twice", workload=SLOW)
    wanted = ("submit", sweep, "--address", terminal.head.address, "--allow-local", "--runs", str(terminal.shared))
    typed = [terminal.start(*wanted, "--json") for _ in range(2)]
    answers = [json.loads(each.communicate(timeout=200)[0]) for each in typed]
    assert [each.returncode for each in typed] == [0, 0]
    assert sorted(answer["submitted"] for answer in answers) == [False, True]
    assert {answer["job"] for answer in answers} == {"bptt-twice-1"}
    terminal.write("twice", workload=SLOW, search={"sampler": "random", "pruner": "none", "seed": 4})
    code, out, err = terminal.submit(sweep)
    assert (code, out) == (2, "")
    assert "search.seed: 3 -> 4" in err
    assert err.count("\n") == 1
    terminal.bptt("logs", "twice", "-f")
    terminal.assert_whole("twice")


def test_a_driver_killed_on_the_cluster_is_followed_by_another(terminal: Terminal) -> None:
    assert terminal.submit(terminal.write("killed", workload=SLOW))[0] == 0
    for more in (2, 9):
        terminal.wait_for("killed", evaluated(more))
        os.kill(terminal.status("killed")["driver"]["pid"], signal.SIGKILL)
        terminal.wait_for("killed", lambda seen: seen["state"] == "running")
    _, out, _ = terminal.bptt("logs", "killed", "-f")
    assert out.count("the driver was killed by SIGKILL; another takes over in") == 2
    terminal.assert_whole("killed")


def test_a_stopped_sweep_goes_on_when_it_is_submitted_by_name(terminal: Terminal, tmp_path: Path) -> None:
    assert terminal.submit(terminal.write("stopped", workload=SLOW))[0] == 0
    terminal.wait_for("stopped", evaluated(1))
    assert terminal.bptt("stop", "stopped", "--wait")[0] == 0
    assert terminal.status("stopped")["state"] == "interrupted"
    (terminal.folder / "stopped.yaml").unlink()
    code, out, _ = terminal.bptt("resume", "stopped", "--address", terminal.head.address)
    assert code == 2  # it goes to the Jobs server too, and there a database in a file is refused
    assert "BPTT_STUDY_URL" in out
    cluster = ("--address", terminal.head.address, "--allow-local", "--workers", "1", "--runs", str(terminal.shared))
    assert terminal.bptt("extend", "stopped", "--trials", "1", "--run", *cluster)[0] == 0
    assert terminal.submit("stopped")[0] == 0  # it runs by now, and changes nothing
    terminal.wait_for("stopped", lambda seen: seen["state"] == "finished")
    assert terminal.status("stopped")["trials"]["ended"] == TRIALS + 1


def test_a_job_stopped_through_ray_gives_its_lease_back(terminal: Terminal) -> None:
    sweep = terminal.write("halted", workload={"kind": "scripted_workload:Scripted", "pause_s": 30.0})
    assert terminal.submit(sweep)[0] == 0
    terminal.wait_for("halted", lambda seen: bool(seen["under_way"]))
    job = terminal.status("halted")["driver"]["job"]
    ray = [str(Path(sys.executable).with_name("ray")), "job", "stop", "--address", terminal.head.address, job]
    environment = terminal.environment(RAY_AUTH_MODE="token")
    assert subprocess.run(ray, env=environment, capture_output=True, timeout=60).returncode == 0
    terminal.wait_for("halted", lambda seen: seen["state"] == "interrupted", 20)


def test_a_sweep_whose_job_is_gone_is_taken_up_by_whoever_keeps_it(terminal: Terminal) -> None:
    assert terminal.submit(terminal.write("orphan", workload=SLOW))[0] == 0
    terminal.wait_for("orphan", evaluated(1))
    driver = terminal.status("orphan")["driver"]["pid"]
    os.killpg(os.getpgid(driver), signal.SIGKILL)  # the supervisor too
    terminal.wait_for("orphan", lambda seen: seen["state"] == "dead")
    wanted = ("--address", terminal.head.address, "--allow-local", "--runs", str(terminal.shared), "--once")
    end, said = time.monotonic() + 60, ""
    while "submitted as job bptt-orphan-2" not in said:
        assert time.monotonic() < end, said
        said += terminal.bptt("keep", *wanted)[1]  # until Ray knows that the first job is gone
    terminal.wait_for("orphan", lambda seen: seen["state"] == "finished")
    terminal.assert_whole("orphan")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"RAY_AUTH_TOKEN": "f" * 32}, "refuses this token; set RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_TOKEN": "", "HOME": "/nonexistent"}, "wants a token; set RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": "/nonexistent"}, "RAY_AUTH_TOKEN_PATH: /nonexistent: it cannot"),
    ],
    ids=["wrong", "none", "no file"],
)
def test_a_cluster_refuses_who_has_no_token(changes: dict[str, str], expected: str, terminal: Terminal) -> None:
    sweep = terminal.write("refused")
    for command in (("submit", sweep), ("logs", "refused"), ("run", sweep)):
        code, out, err = terminal.bptt(*command, "--address", terminal.head.address, **changes)
        assert (code, out) == (2, "")
        assert expected in err
        assert err.count("\n") == 1


def test_nonsense_is_refused_in_a_line_and_does_nothing(terminal: Terminal) -> None:
    sweep = terminal.write("nonsense")
    address = ("--address", terminal.head.address)
    typed = [
        ("submit", sweep),
        ("submit", "../../x", *address),
        ("submit", sweep, "--address", f"{terminal.head.address}/$(touch {terminal.folder}/planted)"),
        ("submit", sweep, "--address", "head:6379"),
        ("submit", sweep, "--address", "http://127.0.0.1:9"),
        ("submit", terminal.write("x;touch planted"), *address),
        ("submit", terminal.write("absolute", workload={"kind": "language_model", "text": "/etc/hostname"}), *address),
        ("logs", "../../x", *address),
        ("logs", "never-submitted", *address),
        ("resume", "nonsense", *address),
    ]
    for command in typed:
        code, out, err = terminal.bptt(*command)
        assert (code, out) == (2, ""), command
        assert err.startswith("bptt: "), err
        assert err.count("\n") == 1, err
    assert not list(terminal.folder.rglob("planted"))
    assert not (terminal.head.folder / "planted").exists()
    code, out, _ = terminal.submit(sweep, "--python", "touch planted; false")
    assert code == 1
    assert "not found" in out
    assert not list(Path(terminal.head.folder).rglob("planted"))


def test_a_cluster_on_kubernetes_is_reached_through_a_port_and_with_the_token_of_its_secret(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = kubernetes.fake_cluster(tmp_path, monkeypatch)
    cluster.put("bptt", {"kind": "RayCluster", "spec": {"authOptions": {"mode": "token"}}})
    kubernetes.secret(cluster, "bptt", auth_token=TOKEN)
    cluster.mark("port", terminal.head.address.rpartition(":")[2])
    known = {name: os.environ[name] for name in os.environ if name.startswith("BPTT_TEST_")}
    typed = ("k8s", "submit", terminal.write("ported"), "--running", "--workers", "1")
    code, out, err = terminal.bptt(*typed, RAY_AUTH_TOKEN="", **known)
    # The job has run there; this head, which is no pod of ours, says nothing of where its databases are.
    assert code == 2, err
    assert "ported: submitted to http://bptt-head-svc.bptt:8265 as job bptt-ported-1" in out
    assert "study_url: " in out
    assert "is seen by this node alone" in out
    assert TOKEN not in out + err
