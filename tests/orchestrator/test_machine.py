"""What this machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import machine
from orchestrator.machine import FOR_TRIALS, gpu_memory_here, limited, memory_here, this_machine


def test_a_containers_limit_counts_where_it_is_the_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "GROUP_LIMIT", limit)
    without = memory_here()
    limit.write_text("1000000\n")
    assert memory_here() == FOR_TRIALS * 1e6
    limit.write_text("max\n")
    assert without is not None
    assert memory_here() == pytest.approx(without, rel=0.5)


def test_the_users_limit_counts_where_it_is_the_smaller() -> None:
    assert limited(8e9, 4) == 4e9
    assert limited(8e9, 16) == 8e9
    assert limited(None, 16) == 16e9
    assert limited(None, None) is None


def test_this_machine_has_a_cpu_and_memory() -> None:
    here = this_machine(0.001)
    assert here.cpus >= 1
    assert here.memory_bytes == 1e6


def test_without_the_drivers_tool_no_memory_of_a_gpu_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert gpu_memory_here() is None
