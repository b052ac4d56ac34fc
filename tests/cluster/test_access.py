"""What a cluster lets in, seen from its nodes and from a host that is none of them."""

from __future__ import annotations

import sys

import pytest

from tests.cluster.bench import Bench

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ASK = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print('in:', ray.cluster_resources())"
JOIN = "ray start --block --address={0} --node-ip-address={1} --num-cpus=64"


@pytest.mark.parametrize("token", ["", "0" * 32], ids=["none", "another"])
def test_a_driver_without_the_token_is_refused(bench: Bench, token: str) -> None:
    environ = {name: value for name, value in bench.cluster.environ.items() if not name.startswith("RAY_AUTH")}
    if token:
        environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    elsewhere = bench.cluster.head.folder  # no token of the user's lies there either
    environ["HOME"] = str(elsewhere)
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
    environ = {name: value for name, value in bench.cluster.environ.items() if not name.startswith("RAY_AUTH")}
    environ |= {"HOME": str(bench.cluster.head.folder), "BPTT_TRACKING_URI": "none"}
    command = [sys.executable, "-m", "orchestrator.cli", "run", "memory", "--address", bench.cluster.address]
    process = bench.cluster.head.start("stranger", command, environ)
    assert process.wait(120) in (1, 2)
    assert "Traceback" not in process.said()
    assert "token" in process.said().lower()


def test_a_node_without_the_token_does_not_join(bench: Bench) -> None:
    environ = {name: value for name, value in bench.cluster.environ.items() if not name.startswith("RAY_AUTH")}
    host = bench.network.add(bench.folder)
    try:
        environ["HOME"] = str(host.folder)
        command = JOIN.format(bench.cluster.address, host.address).split()
        process = host.start("ray", command, environ)
        assert process.wait(180) != 0
    finally:
        host.lose()
    asked = bench.cluster.head.start("count", [sys.executable, "-c", ASK, bench.cluster.address], bench.cluster.environ)
    assert asked.wait(120) == 0
    assert "64.0" not in asked.said()
