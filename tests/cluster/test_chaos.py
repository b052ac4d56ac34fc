"""Every kind of fault once, over sweeps on three nodes; `make chaos` lets fifty happen."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.cluster.bench import Bench
from tests.cluster.chaos import left_alone, row_of_kinds, run_chaos, table
from tests.cluster.faults import FAULTS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1700)]


def test_sweeps_find_the_same_whatever_goes_wrong(bench: Bench, tmp_path: Path) -> None:
    expected = left_alone(tmp_path)
    account = run_chaos(bench, row_of_kinds(len(FAULTS), random.Random(5)), 5, expected)
    print(table(account))
    assert {one.kind for one in account.happened} == set(FAULTS)
    assert account.different == []
    assert sum(one.lost for one in account.happened) == 0
    assert account.damaged >= 1  # a damaged checkpoint was read, and the one before it gone on from
