"""`bptt k8s submit`: one RayJob for a sweep, however often it is asked for, and another where that one is gone."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cli.drive_command import received
from orchestrator.database.lease import Lease
from orchestrator.database.ledger import DriverRow, Ledger
from orchestrator.kubernetes.kubectl import Kubectl
from orchestrator.kubernetes.rayjob import base_name, submit
from orchestrator.settings import Settings
from orchestrator.spec import SweepSpec
from tests.kubernetes import Cluster, secret
from tests.orchestrator.cli.conftest import Answer, Bptt
from tests.orchestrator.conftest import make_spec

RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": "sweep-test-1-abcde"}
ENDED = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "rayClusterName": "sweep-test-1-abcde"}
JOB = "sweep-test-1"

WriteSweep = Callable[[SweepSpec], Path]


@pytest.fixture
def installed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    """A cluster on which the local overlay was installed with values, and whose RayJobs run at once."""
    monkeypatch.chdir(tmp_path)
    values = yaml.safe_dump({"registry": "reg", "workers": {"cpus": 3}, "storage_class": "fast"})
    cluster.put("bptt-installed", {"kind": "ConfigMap", "data": {"overlay": "local", "values": values}})
    cluster.put("sweep-test-1-abcde", {"kind": "RayCluster"})
    cluster.mark("rayjob-status.json", json.dumps(RUNNING))
    return cluster


def ask(bptt: Bptt, sweep: object, *arguments: object) -> Answer:
    return bptt("k8s", "submit", sweep, *arguments)


def stand(cluster: Cluster, name: str, status: dict[str, Any]) -> None:
    found = cluster.read("rayjob", name)
    metadata = found.pop("metadata")
    metadata.pop("name")
    cluster.put(name, {**found, "status": status}, **metadata)


def travelled(cluster: Cluster, name: str) -> dict[str, bytes]:
    """What the head's pod finds in its folder."""
    found = cluster.read("configmap", name)
    content = {key: text.encode() for key, text in found["data"].items()}
    content |= {key: base64.b64decode(text) for key, text in found["binaryData"].items()}
    pod = cluster.read("rayjob", name)["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    [mount] = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "sweep"]
    assert mount["mountPath"] == "/etc/bptt/sweep"
    [volume] = [each for each in pod["volumes"] if each["name"] == "sweep"]
    assert volume["configMap"]["name"] == name
    return {item["path"]: content[item["key"]] for item in volume["configMap"]["items"]}


def test_a_sweep_becomes_a_ray_job_of_the_installed_overlay(
    bptt: Bptt, installed: Cluster, sweep_file: WriteSweep
) -> None:
    answer = ask(bptt, sweep_file(make_spec()))
    assert answer.status == 0, answer.err
    assert "test: submitted as RayJob sweep-test-1\ntest: RayJob sweep-test-1 is running\n" in answer.out
    job = installed.read("rayjob", JOB)
    assert job["metadata"]["annotations"]["bptt/sweep"] == "test"
    spec = job["spec"]
    assert spec["jobId"] == "bptt-test-1"
    variables = {"BPTT_JOB": "bptt-test-1", "BPTT_JOBS_ADDRESS": "kubernetes:bptt/sweep-test-1"}
    assert yaml.safe_load(spec["runtimeEnvYAML"]) == {"env_vars": variables}
    assert "drive --supervise --retried" in spec["entrypoint"]
    worker = spec["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]
    assert worker["containers"][0]["image"] == "reg/bptt-trainer:0.1.0"
    assert worker["containers"][0]["resources"]["limits"]["cpu"] == "3"
    [volume] = [each["configMap"] for each in worker["volumes"] if each["name"] == "sweep"]
    assert (volume["name"], volume["optional"]) == (JOB, True), "for modules of the user's own"
    files = travelled(installed, JOB)
    assert json.loads(files["sweep.yaml"])["name"] == "test"
    assert json.loads(files["submission.json"]) == {"settings": {}, "workers": 6, "allow_local": False}
    [owner] = installed.read("configmap", JOB)["metadata"]["ownerReferences"]
    assert owner["uid"] == "uid-of-sweep-test-1"


def test_what_travels_is_what_a_driver_takes(
    bptt: Bptt, installed: Cluster, sweep_file: WriteSweep, tmp_path: Path
) -> None:
    ask(bptt, sweep_file(make_spec()))
    folder = tmp_path / "etc"
    folder.mkdir()
    for name, content in travelled(installed, JOB).items():
        (folder / name).write_bytes(content)
    submission, spec = received(folder)
    assert (submission.workers, submission.settings, spec) == (6, {}, make_spec())


def test_where_a_driver_on_kubernetes_says_its_lines_is_known(
    bptt: Bptt, installed: Cluster, sweep_settings: Settings
) -> None:
    ledger = Ledger(sweep_settings.study_url)
    ledger.create("test", make_spec().plain())
    lease = Lease(ledger, "test")
    lease.take()
    ledger.enter_driver(DriverRow("test", lease.owner, "vm", "kubernetes:bptt/sweep-test-1", "bptt-test-1", 1.0))
    answer = bptt("logs", "test")
    assert answer.status == 2
    assert "driven on Kubernetes, by RayJob bptt/sweep-test-1; `bptt k8s logs test` shows its lines" in answer.err


def test_a_team_s_sweeps_wait_in_the_queue(bptt: Bptt, installed: Cluster, sweep_file: WriteSweep) -> None:
    answer = ask(bptt, sweep_file(make_spec()), "--overlay", "production", "--no-wait")
    assert answer.status == 0, answer.err
    job = installed.read("rayjob", JOB)
    assert "reg/" not in json.dumps(job), "the values are those of another overlay"
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "sweeps"
    assert job["metadata"]["labels"]["bptt/sweep"] == "sweep-test"
    assert travelled(installed, JOB)


def test_what_runs_is_not_submitted_again(bptt: Bptt, installed: Cluster, sweep_file: WriteSweep) -> None:
    path = sweep_file(make_spec())
    ask(bptt, path)
    answer = ask(bptt, path)
    assert answer.status == 0
    assert "not submitted again: its RayJob is running already (sweep-test-1)" in answer.out
    assert installed.names("rayjob") == [JOB]


def test_a_changed_sweep_is_refused_while_it_runs(bptt: Bptt, installed: Cluster, sweep_file: WriteSweep) -> None:
    ask(bptt, sweep_file(make_spec()))
    answer = ask(bptt, sweep_file(make_spec(search={"sampler": "random", "pruner": "none", "seed": 4})))
    assert answer.status == 2
    assert "is being run by RayJob sweep-test-1 with another spec" in answer.err
    assert installed.names("rayjob") == [JOB]


def test_a_sweep_whose_cluster_is_gone_is_submitted_again_by_its_name(
    bptt: Bptt, installed: Cluster, sweep_file: WriteSweep
) -> None:
    path = sweep_file(make_spec())
    ask(bptt, path)
    before = travelled(installed, JOB)
    path.unlink()
    installed.remove("raycluster", "sweep-test-1-abcde")
    status = bptt("k8s", "status")
    assert "test   sweep-test-1  lost" in status.out
    assert "its cluster sweep-test-1-abcde is gone; `bptt k8s submit test` goes on" in status.out
    answer = ask(bptt, "test", "--no-wait")
    assert answer.status == 0, answer.err
    assert installed.names("rayjob") == ["sweep-test-2"], "the operator does not wake the lost one"
    again = travelled(installed, "sweep-test-2")
    assert {name: json.loads(content) for name, content in again.items()} == {
        name: json.loads(content) for name, content in before.items()
    }


@pytest.mark.parametrize("status", [ENDED, {**ENDED, "jobDeploymentStatus": "Failed", "jobStatus": "FAILED"}])
def test_a_sweep_that_ended_goes_on_under_the_next_number(
    bptt: Bptt, installed: Cluster, sweep_file: WriteSweep, status: dict[str, str]
) -> None:
    path = sweep_file(make_spec())
    ask(bptt, path)
    stand(installed, JOB, status)
    assert ask(bptt, path, "--no-wait").status == 0
    assert installed.names("rayjob") == [JOB, "sweep-test-2"]


def test_two_who_submit_at_once_make_one_ray_job(
    bptt: Bptt, installed: Cluster, sweep_file: WriteSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(bptt, sweep_file(make_spec()))
    template = installed.read("rayjob", JOB)
    looks = []

    def sweeps(kubectl: Kubectl) -> list[Any]:
        from orchestrator.kubernetes.standing import sweeps as really

        looks.append(1)
        return [] if len(looks) == 1 else really(kubectl)

    monkeypatch.setattr("orchestrator.kubernetes.rayjob.sweeps", sweeps)
    sent = submit(Kubectl(), make_spec(), template=template, files={"sweep.yaml": b"{}"})
    assert (sent.job, sent.is_new, len(looks)) == (JOB, False, 2)
    assert installed.names("rayjob") == [JOB]


def test_a_sweep_driven_elsewhere_is_not_submitted(
    bptt: Bptt, installed: Cluster, sweep_file: WriteSweep, monkeypatch: pytest.MonkeyPatch, postgres_server: Any
) -> None:
    url = postgres_server.new_database()
    monkeypatch.setenv("BPTT_STUDY_URL", url)
    ledger = Ledger(url)
    ledger.create("test", make_spec().plain())
    Lease(ledger, "test").take()
    answer = ask(bptt, sweep_file(make_spec()))
    assert "not submitted again: it is being driven already" in answer.out
    assert installed.names("rayjob") == []


def test_what_it_waits_for_is_said_and_failure_is_an_exit_status(
    bptt: Bptt, installed: Cluster, sweep_file: WriteSweep
) -> None:
    installed.mark("rayjob-status.json", json.dumps({"jobDeploymentStatus": "Initializing", "rayClusterName": "c"}))
    event = {
        "kind": "Event",
        "involvedObject": {"name": "head-0"},
        "reason": "FailedScheduling",
        "message": "0/1 nodes",
    }
    installed.put("e", event)
    installed.put(
        "head-0", {"kind": "Pod", "status": {"phase": "Pending"}}, labels={"ray.io/originated-from-cr-name": JOB}
    )
    path = sweep_file(make_spec())
    answer = ask(bptt, path, "--timeout", "0")
    assert answer.status == 0
    assert "RayJob sweep-test-1 is waiting: head-0: FailedScheduling: 0/1 nodes" in answer.out
    assert "it waits still, and will go on by itself" in answer.out
    failed = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": "exit code 1", "rayClusterName": "c"}
    installed.mark("rayjob-status.json", json.dumps(failed))
    stand(installed, JOB, failed)
    answer = ask(bptt, path, "--json")
    assert answer.status == 1
    assert json.loads(answer.out) == {"name": "test", "job": "sweep-test-2", "submitted": True, "state": "failed"}
    assert "is failed: exit code 1" in answer.err
    stopped = {**failed, "jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}
    installed.mark("rayjob-status.json", json.dumps(stopped))
    answer = ask(bptt, path)
    assert answer.status == 1
    assert "is stopped: its driver refused the sweep, or somebody stopped the job; `bptt k8s logs test`" in answer.out


@pytest.mark.parametrize("key", ["budgets", "train"])
def test_a_file_that_its_driver_would_refuse_is_refused_here(
    bptt: Bptt, installed: Cluster, sweep_file: WriteSweep, key: str
) -> None:
    path = sweep_file(make_spec())
    path.write_text(json.dumps({**yaml.safe_load(path.read_text()), key: "nonsense"}))
    answer = ask(bptt, path)
    assert answer.status == 2
    assert key in answer.err
    assert installed.changes() == []


def test_modules_and_data_of_the_user_travel(
    bptt: Bptt, installed: Cluster, sweep_file: WriteSweep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_cells_k8s.py").write_text("from torch.nn import LSTM as Cell\n")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_bytes(bytes(range(256)))
    spec = make_spec(
        workload={"kind": "language_model", "text": "texts/a.txt"},
        space={"hidden_size": {"int": [4, 8]}},
        train={"cell_type": "own_cells_k8s:Cell", "batch_size": 2, "truncation_length": 4},
        objective={"metric": "valid_loss"},
    )
    answer = ask(bptt, sweep_file(spec), "--no-wait", "--workers", "2")
    assert answer.status == 0, answer.err
    files = travelled(installed, JOB)
    assert set(files) == {"own_cells_k8s.py", "texts/a.txt", "sweep.yaml", "submission.json"}
    assert files["texts/a.txt"] == bytes(range(256))
    assert len(installed.read("configmap", JOB)["data"]) == 3, "texts can be read by people"
    assert json.loads(files["submission.json"])["workers"] == 2
    (tmp_path / "texts" / "a.txt").write_text("the quick brown fox " * 50_000)
    answer = ask(bptt, sweep_file(spec), "--no-wait")
    assert answer.status == 2
    assert (
        "1,001 kB would have to travel with the sweep, most of it texts/a.txt, and a ConfigMap holds 900" in answer.err
    )


@pytest.mark.parametrize(
    ("resources", "arguments", "said"),
    [
        ({"cpus": 4}, [], "a trial asks for cpus 4, and a worker here has cpus 3, memory_gb 3.22"),
        (
            {"cpus": 1, "gpus": 2},
            [],
            "a trial asks for cpus 1, gpus 2, and a worker here has cpus 3, memory_gb 3.22; cpus ",
        ),
        ({"cpus": 1, "gpus": 1}, ["--overlay", "production"], "this cluster has none, and it does not grow by itself"),
        ({"cpus": 1}, ["--set", "workers.mots=2"], "values: workers.mots: unknown"),
        ({"cpus": 1}, ["--overlay", "nowhere"], "OVERLAY: 'nowhere'"),
        ({"cpus": 1}, ["--running", "--set", "workers.most=2"], "leave out --values, --set and --overlay"),
    ],
)
def test_a_sweep_that_could_never_run_is_refused(
    bptt: Bptt, installed: Cluster, sweep_file: WriteSweep, resources: dict[str, float], arguments: list[str], said: str
) -> None:
    answer = ask(bptt, sweep_file(make_spec(resources=resources)), *arguments)
    assert answer.status == 2
    assert said in answer.err
    assert installed.changes() == []


def test_where_nothing_is_installed_a_line_says_so(bptt: Bptt, cluster: Cluster, sweep_file: WriteSweep) -> None:
    answer = ask(bptt, sweep_file(make_spec()))
    assert answer.status == 2
    assert "nothing is installed in namespace bptt; see `bptt k8s apply`, or name an --overlay" in answer.err


def test_names_are_those_that_kuberay_takes() -> None:
    names = ["a", "demo", "Demo", "de_mo", "de-mo", "0", "_", "x" * 63, "x" * 62 + "y", "A" * 63]
    short = [base_name(name) for name in names]
    assert len(set(short)) == len(names)
    for name in short:
        assert len(f"{name}-999") <= 47
        assert name.replace("-", "").isalnum()
        assert name == name.lower()
        assert not name.endswith("-")


def test_the_cluster_that_stands_is_reached_through_a_port_with_its_token(
    bptt: Bptt, installed: Cluster, sweep_file: WriteSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    installed.put("bptt", {"kind": "RayCluster", "spec": {"authOptions": {"mode": "token"}}})
    secret(installed, "bptt", auth_token="token-of-the-cluster")
    installed.mark("port", "45678")
    seen: dict[str, Any] = {}

    class Server:
        def __init__(self, address: str) -> None:
            import os

            self.address = address
            seen.update(address=address, token=os.environ["RAY_AUTH_TOKEN"])

        def jobs(self) -> list[Any]:
            return []

        def submit(self, name: str, entrypoint: str, *, folder: Path, **details: Any) -> None:
            seen.update(job=name, files={each.name for each in folder.iterdir()}, **details)

    monkeypatch.setattr("orchestrator.jobs.server.JobsServer", Server)
    answer = ask(bptt, sweep_file(make_spec()), "--running", "--no-wait")
    assert answer.status == 0, answer.err
    assert (seen["address"], seen["token"]) == ("http://127.0.0.1:45678", "token-of-the-cluster")
    assert seen["environment"]["BPTT_JOBS_ADDRESS"] == "http://bptt-head-svc.bptt:8265"
    assert "submitted to http://bptt-head-svc.bptt:8265 as job bptt-test-1" in answer.out
    assert "see `bptt k8s logs test -f`" in answer.out
    assert "orchestrator" not in seen["files"]
    [forward] = installed.calls("port-forward")
    assert "token-of-the-cluster" not in json.dumps(forward)


def test_a_port_that_cannot_be_brought_here_is_the_clusters_fault(
    bptt: Bptt, installed: Cluster, sweep_file: WriteSweep
) -> None:
    installed.put("bptt", {"kind": "RayCluster", "spec": {}})
    answer = ask(bptt, sweep_file(make_spec()), "--running")
    assert answer.status == 1
    assert "unable to forward port because pod is not running" in answer.err
