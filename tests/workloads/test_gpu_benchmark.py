"""The benchmark for GPUs, as far as a CPU can tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import workloads
from tests.benchmarks.gpu import covered, measure

STRETCHES = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)).map(lambda each: (each[0], sum(each))))


@given(STRETCHES)
def test_time_that_kernels_share_is_counted_once(stretches: list[tuple[int, int]]) -> None:
    assert covered(stretches) == len({unit for begin, end in stretches for unit in range(begin, end)})


@pytest.mark.parametrize(("cell_type", "is_fused"), [("lstm", True), ("slstm", False)])
def test_a_layer_that_runs_step_by_step_is_told_from_a_fused_one(cell_type: str, is_fused: bool) -> None:
    dataset = workloads.load("language_model", {}).prepare()
    params = {"truncation_length": 8, "batch_size": 4, "hidden_size": 8, "sequence_steps": 10**6, "device": "cpu"}
    found = measure(dataset, {**params, "cell_type": cell_type, "kernel": "torch"}, updates=(1, 2, 3))
    assert found.is_fused == is_fused
    assert found.busy is None
    assert found.steps_per_second > 0
