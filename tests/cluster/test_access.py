"""What a cluster lets in, seen from its nodes and from a host that is none of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from tests import postgres, s3
from tests.cluster.bench import Bench, PlannedSweep
from tests.cluster.chaos import make_spec
from tests.cluster.deployment import PASSWORD
from tests.cluster.hosts import Host
from tests.cluster.ray_cluster import TOKEN

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ASK = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print('in:', ray.cluster_resources())"
SHORT = {"budget": {"trials": 3, "sequence_steps": 40_000, "evaluations": 2}}
SECRETS_OF_S3 = [s3.KEYS["AWS_SECRET_ACCESS_KEY"]]
JOIN = "ray start --block --address={0} --node-ip-address={1} --num-cpus=64"


@pytest.mark.parametrize("token", ["", "0" * 32], ids=["none", "another"])
def test_a_driver_without_the_token_is_refused(bench: Bench, token: str) -> None:
    environ = without_token(bench, bench.cluster.head)
    if token:
        environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    command = [sys.executable, "-c", ASK, bench.cluster.address]
    for host in (bench.cluster.head, bench.cluster.nodes[0][0]):
        process = host.start(f"intruder-{bool(token)}", command, environ)
        assert process.wait(120) != 0
        assert "in:" not in process.said()
        assert "token" in process.said().lower()
    let_in = bench.cluster.head.start("friend", command, bench.cluster.environ)
    assert let_in.wait(120) == 0, let_in.said()
    assert "in:" in let_in.said()


def test_our_own_driver_without_the_token_says_so_in_a_line(bench: Bench) -> None:
    environ = {**without_token(bench, bench.cluster.head), "BPTT_TRACKING_URI": "none"}
    command = [sys.executable, "-m", "orchestrator.cli", "run", "memory", "--address", bench.cluster.address]
    process = bench.cluster.head.start("stranger", command, environ)
    assert process.wait(120) in (1, 2)
    assert "Traceback" not in process.said()
    assert "token" in process.said().lower()


def test_a_node_without_the_token_does_not_join(bench: Bench) -> None:
    host = bench.network.add(bench.folder)
    try:
        command = JOIN.format(bench.cluster.address, host.address).split()
        process = host.start("ray", command, without_token(bench, host))
        assert process.wait(180) != 0
    finally:
        host.lose()
    asked = bench.cluster.head.start("count", [sys.executable, "-c", ASK, bench.cluster.address], bench.cluster.environ)
    assert asked.wait(120) == 0
    assert "64.0" not in asked.said()


def test_no_secret_is_in_a_log_a_run_an_object_or_a_process_title(bench: Bench) -> None:
    known = [TOKEN, PASSWORD, quote(PASSWORD), postgres.PASSWORD, quote(postgres.PASSWORD, safe=""), *SECRETS_OF_S3]
    bench.begin(PlannedSweep({**make_spec("secretive"), **SHORT}, bench.deployment.store.uri("secretive")))
    titles = ""
    while not bench.tend():
        titles += "".join(read(entry / "cmdline") for entry in Path("/proc").iterdir() if entry.name.isdigit())
        time.sleep(1)
    server, store = bench.deployment.postgres, bench.deployment.store
    environ = {"PGPASSWORD": postgres.PASSWORD, "PATH": os.environ["PATH"]}
    place = ["-h", server.address, "-p", str(server.port), "-U", postgres.USER]
    databases = subprocess.run(
        ["pg_dumpall", *place, "--no-role-passwords"], env=environ, check=True, capture_output=True, text=True
    ).stdout
    keys = [key for key in store.keys() if key.startswith("secretive/")]  # noqa: SIM118 - a method of ours
    found = [store.client.get_object(Bucket=s3.BUCKET, Key=key)["Body"].read() for key in keys]
    objects = b"".join(found).decode(errors="replace")
    assert "secretive" in titles
    assert "secretive" in databases
    assert objects
    for secret in known:
        assert secret not in titles
        assert secret not in databases
        assert secret not in objects
    logs = [path for path in bench.folder.rglob("*") if path.is_file() and path.name != "users.ini"]
    assert any("raylet.out" in path.name for path in logs)
    for path in logs:
        content = read(path)
        assert not [secret for secret in known if secret in content], path


def without_token(bench: Bench, host: Host) -> dict[str, str]:
    """Return the variables of a host's user who has no token, in a file of his neither."""
    kept = {name: value for name, value in bench.cluster.environ.items() if not name.startswith("RAY_AUTH")}
    return {**kept, "HOME": str(host.folder)}


def read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:  # it has gone in the meantime
        return ""
