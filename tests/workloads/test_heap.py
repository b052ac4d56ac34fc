"""Memory from the system: large tensors are given back at once, whatever lies behind them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workloads import heap

LINGERING = """
import os
import sys
from pathlib import Path
from workloads.heap import hold_tensors_apart
if sys.argv[1] == "apart":
    assert hold_tensors_apart()
import torch
assert hold_tensors_apart() == (sys.argv[1] == "apart")
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
def huge():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages"))
torch.ones(30 * 2**18)  # 30 MB, from which on malloc by itself takes 6 MB to be little
before = resident()
tensors = [torch.ones(6 * 2**18) for _ in range(20)]
held = resident() - before
assert sys.argv[1] != "apart" or huge() > 50_000
del tensors[:-1]
print(held / 2**20, (resident() - before) / 2**20)
"""


def held_and_left(how: str) -> tuple[float, float]:
    """Return the MiB that twenty tensors of 6 MiB took, and those taken once only the last one is there."""
    environment = {name: value for name, value in os.environ.items() if name not in heap.CHOICES}
    command = [sys.executable, "-c", LINGERING, how]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    held, left = map(float, said.split())
    return held, left


@pytest.mark.skipif(not heap.has_huge_pages(), reason="without huge pages the heap is left as it is")
def test_large_tensors_leave_no_holes() -> None:
    held, left = held_and_left("apart")
    assert held == pytest.approx(120, abs=8)
    assert left == pytest.approx(6, abs=4)
    assert held_and_left("as it is")[1] > 60


def test_who_chose_otherwise_or_has_torch_already_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    assert not heap.hold_tensors_apart.__wrapped__()
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    monkeypatch.setitem(sys.modules, "torch", heap)
    assert not heap.hold_tensors_apart.__wrapped__()
    assert "THP_MEM_ALLOC_ENABLE" not in os.environ


@pytest.mark.parametrize("said", ["always madvise [never]\n", None])
def test_without_huge_pages_nothing_is_changed(
    said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "enabled"
    if said is not None:
        file.write_text(said)
    monkeypatch.setattr(heap, "HUGE_PAGES", file)
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert not heap.hold_tensors_apart.__wrapped__()
    assert "THP_MEM_ALLOC_ENABLE" not in os.environ
