"""When horizons are measured beside evaluations: not where they would take as long as the updates between them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import workloads
from workloads.bptt.truncation import Truncation
from workloads.horizon_window import LOOK_SHARE, worthwhile_looks
from workloads.training import TrainingRun

LOOKS = Truncation.looks


@given(st.integers(1, 10**8), st.integers(0, 10**6))
def test_each_look_that_is_left_reads_a_small_part_of_the_steps_before_it(sequence_steps: int, reads: int) -> None:
    left = worthwhile_looks(LOOKS, sequence_steps=sequence_steps, reads=reads)
    assert set(left) <= set(LOOKS)
    assert all(
        reads <= LOOK_SHARE * (after - before) * sequence_steps * (1 + 1e-9) for before, after in pairwise([0, *left])
    )


@given(st.integers(1, 10**8), st.integers(1, 10**6))
def test_a_longer_training_has_no_fewer_looks(sequence_steps: int, reads: int) -> None:
    short = worthwhile_looks(LOOKS, sequence_steps=sequence_steps, reads=reads)
    assert len(worthwhile_looks(LOOKS, sequence_steps=2 * sequence_steps, reads=reads)) >= len(short)
    assert worthwhile_looks(LOOKS, sequence_steps=10_000 * reads, reads=reads) == list(LOOKS)


@pytest.mark.parametrize(
    ("given", "looks"),
    [
        ({"sequence_steps": 10**7}, 6),
        ({"sequence_steps": 4000}, 0),
        ({"sequence_steps": 4000, "truncation": "adaptive"}, 12),
    ],
    ids=["long", "short", "adaptive"],
)
def test_a_short_training_has_few_but_those_that_its_truncation_scheme_learns_from(
    text_file: Path, given: dict[str, Any], looks: int
) -> None:
    workload: Any = workloads.load("language_model", {"text": str(text_file)})
    params = {"hidden_size": 8, "batch_size": 4, "truncation_length": 8, **given}
    assert len(TrainingRun(*workload.begin(params, workload.prepare())).due) == looks
