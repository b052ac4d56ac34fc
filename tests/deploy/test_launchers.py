"""Ray's launcher files by Ray's own rules, and the Slurm script with a Slurm that is played."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/ray"
SCRIPT = ROOT / "deploy/slurm/bptt.sbatch"
PLAYED = {
    "scontrol": 'if [ "$1" = show ]; then printf "one\\ntwo\\n"; else echo "scontrol $*" >> "$LOG"; fi',
    "srun": 'echo "srun $*" >> "$LOG"; while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
    # As on Debian, where a host's own name leads back to itself.
    "hostname": 'if [ "$1" = --ip-address ]; then echo 127.0.1.1; else echo "fe80::1 192.0.2.7 198.51.100.7 "; fi',
    "ray": """if [ "$1" = health-check ]; then exit 0; fi
        echo "$RAY_AUTH_MODE $(stat -c %a "$RAY_AUTH_TOKEN_PATH") $(cat "$RAY_AUTH_TOKEN_PATH")" >> "$LOG.tokens"
        [ -z "${RAY_AUTH_TOKEN:-}" ] || echo "a token in a variable" >> "$LOG.tokens" """,
    # As a driver that waits for its nodes.
    "bptt": """until [ "$(wc -l < "$LOG.tokens")" -ge 2 ]; do sleep 0.05; done 2> /dev/null
        echo "bptt $*" >> "$LOG"; trap 'echo stopped >> "$LOG"; exit 130' TERM
        [ -z "${GOES_ON:-}" ] || while true; do sleep 0.05; done""",
}


@pytest.fixture(params=["on-premise", "aws"])
def launcher(request: pytest.FixtureRequest) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / f"{request.param}.yaml").read_text())
    return loaded


def test_a_launcher_file_is_what_ray_reads(launcher: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(launcher)  # as `ray up` does
    validate_config(prepared)
    kinds = {
        name: (kind["min_workers"], kind["max_workers"]) for name, kind in prepared["available_node_types"].items()
    }
    assert list(kinds.values()) in ([(2, 2)], [(0, 0), (0, 8), (0, 4)])


def test_a_launcher_installs_what_is_pinned_and_starts_ray_with_a_token(launcher: dict[str, Any]) -> None:
    installs = "\n".join(launcher["setup_commands"])
    assert "--no-deps --requirement ~/bptt/requirements.txt" in installs
    assert "chmod 600 ~/bptt/node.env" in installs
    assert "export PATH=~/bptt/venv/bin:$PATH' >> ~/.bashrc" in installs, "`ray down` calls `ray stop` there"
    for start in (launcher["head_start_ray_commands"][-1], launcher["worker_start_ray_commands"][-1]):
        assert start.startswith("set -a; . ~/bptt/node.env; set +a;")
    assert "--dashboard-host=127.0.0.1" in launcher["head_start_ray_commands"][-1]
    for local in launcher["file_mounts"].values():
        assert local in ("dist", "node.env") or (ROOT / local).is_file()


def test_what_nodes_know_says_the_mode_and_no_secret() -> None:
    lines = [line for line in (FOLDER / "node.env.example").read_text().splitlines() if not line.startswith("#")]
    known = dict(line.split("=", 1) for line in lines)
    assert known["RAY_AUTH_MODE"] == "token"
    assert not [name for name in known if re.search("TOKEN$|PASSWORD|_KEY", name) and known[name]]


def test_aws_is_open_to_nobody_by_ray_itself() -> None:
    """Ray would make a security group that lets ssh in from everywhere."""
    launcher = yaml.safe_load((FOLDER / "aws.yaml").read_text())
    for name, kind in launcher["available_node_types"].items():
        config = kind["node_config"]
        assert config["SecurityGroupIds"], name
        assert config["MetadataOptions"]["HttpTokens"] == "required", name
        assert all(device["Ebs"]["Encrypted"] for device in config["BlockDeviceMappings"]), name
    assert launcher["available_node_types"]["head"]["resources"] == {"CPU": 0}


class Job:
    """The script, run as Slurm would run it, with programs that note how they were called."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder, self.log = folder, folder / "log"
        (folder / "bin").mkdir()
        for name, body in PLAYED.items():
            program = folder / "bin" / name
            program.write_text(f"#!/bin/bash\n{body}\n")
            program.chmod(0o755)
        slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "one,two", "SLURM_JOB_NUM_NODES": "2"}
        self.environ = {
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
            "HOME": str(folder),
            "LOG": str(self.log),
            "BPTT_VENV": str(folder),
            "SLURM_CPUS_PER_TASK": "8",
            **slurm,
            **environ,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", SCRIPT, *arguments], env=self.environ, cwd=self.folder, stderr=subprocess.PIPE, text=True
        )

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


def test_a_slurm_job_starts_ray_on_its_nodes_behind_a_token_and_drives_the_sweep(tmp_path: Path) -> None:
    job = Job(tmp_path, BPTT_STUDY_URL="postgresql://x", SLURM_GPUS_ON_NODE="2", RAY_AUTH_TOKEN="another")
    process = job.start("sweep.yaml")
    assert process.wait(30) == 0, process.stderr and process.stderr.read()
    assert "bptt run sweep.yaml --address 192.0.2.7:24711" in job.calls()
    starts = [call for call in job.calls() if "ray start" in call]
    assert len(starts) == 2
    assert all("--num-cpus=8 --num-gpus=2" in call for call in starts)
    assert [call for call in starts if "--head" in call and "--nodelist=one" in call]
    # Of these Ray has fixed numbers, by which two jobs on one host would be in each other's way.
    for port in ("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"):
        assert all(port in call for call in starts)
    assert [call for call in starts if "--ray-client-server-port=32011" in call and "--port=24711" in call]
    assert [call for call in starts if "--address=192.0.2.7:24711" in call and "--exclude=one" in call]
    tokens = (tmp_path / "log.tokens").read_text().splitlines()
    assert len(tokens) == 2
    assert len(set(tokens)) == 1
    assert re.fullmatch("token 600 [0-9a-f]{64}", tokens[0])
    assert tokens[0].split()[-1] not in job.log.read_text()
    assert not list((tmp_path / ".bptt").iterdir())


def test_a_slurm_job_whose_time_is_up_stops_in_good_order_and_is_queued_again(tmp_path: Path) -> None:
    job = Job(tmp_path, BPTT_STUDY_URL="postgresql://x", GOES_ON="1")
    process = job.start("sweep.yaml")
    end = time.monotonic() + 30
    while not [call for call in job.calls() if call.startswith("bptt")]:
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 130
    assert job.calls()[-2:] == ["stopped", "scontrol requeue 4711"]


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [((), {"BPTT_STUDY_URL": "x"}, "give a sweep file"), (("sweep.yaml",), {}, "BPTT_STUDY_URL")],
    ids=["no sweep", "no database"],
)
def test_a_slurm_job_says_what_it_lacks(
    arguments: tuple[str, ...], environ: dict[str, str], said: str, tmp_path: Path
) -> None:
    job = Job(tmp_path, **environ)
    process = job.start(*arguments)
    assert process.wait(30) != 0
    assert process.stderr is not None
    assert said in process.stderr.read()
    assert job.calls() == []


def test_scripts_that_are_run_by_name_can_be_run() -> None:
    for script in ("compose/secrets.sh", "images/mlflow-entrypoint.sh"):
        assert (ROOT / "deploy" / script).stat().st_mode & stat.S_IXUSR, script
