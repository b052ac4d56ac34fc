"""A cluster that is gone with its head, its nodes and its driver."""

from __future__ import annotations

import time

import pytest

from orchestrator.settings import LEASE_S
from tests.cluster.bench import Bench, PlannedSweep
from tests.cluster.chaos import make_spec

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_a_sweep_goes_on_at_once_on_a_new_cluster_at_another_address(bench: Bench) -> None:
    bench.lease_s = LEASE_S  # as shipped
    bench.begin(PlannedSweep(make_spec("lost"), bench.deployment.store.uri("lost")))
    bench.tend_until(lambda: bench.evaluated() >= 4, 200, "the sweep makes four evaluations")
    before = bench.cluster.address
    bench.cluster.lose()
    bench.cluster.mend()
    assert bench.cluster.address != before
    bench.cluster.wait_for_nodes(120)
    made, began = bench.evaluated(), time.monotonic()
    bench.go_on()
    bench.tend_until(lambda: bench.evaluated() > made, 200, "the sweep goes on")
    took_s = time.monotonic() - began
    print(f"`bptt resume` went on after {took_s:.1f} s")
    bench.tend_until(bench.tend, 400, "the sweep finishes")
    assert {str(trial.state) for trial in bench.trials()} == {"complete"}
