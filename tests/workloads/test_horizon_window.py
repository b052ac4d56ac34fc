"""When horizons are measured beside evaluations: not where they would take as long as the updates between them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import workloads
from tests.conftest import FolderStorage
from workloads.bptt.truncation import Truncation
from workloads.horizon_window import LOOK_SHARE, worthwhile_looks
from workloads.training import TrainingRun

LOOKS = Truncation.looks
PARAMS: dict[str, Any] = {"hidden_size": 8, "batch_size": 16, "truncation_length": 8}


@given(st.integers(1, 10**8), st.integers(1, 40), st.integers(0, 10**6))
def test_each_look_that_is_left_reads_a_small_part_of_the_steps_before_it(
    sequence_steps: int, evaluations: int, reads: int
) -> None:
    left = worthwhile_looks(LOOKS, sequence_steps=sequence_steps, evaluations=evaluations, reads=reads)
    assert set(left) <= set(LOOKS)
    places = sorted({*left, *(number / evaluations for number in range(evaluations + 1))})
    for before, after in pairwise(places):
        if after in left:
            assert reads <= LOOK_SHARE * (after - before) * sequence_steps * (1 + 1e-9)


@given(st.integers(1, 10**8), st.integers(1, 40), st.integers(1, 10**6))
def test_a_longer_training_has_no_fewer_looks(sequence_steps: int, evaluations: int, reads: int) -> None:
    def left(steps: int) -> list[float]:
        return worthwhile_looks(LOOKS, sequence_steps=steps, evaluations=evaluations, reads=reads)

    assert len(left(2 * sequence_steps)) >= len(left(sequence_steps))
    beside = [look for look in LOOKS if look * evaluations % 1]
    assert left(10**6 * reads) == beside


@pytest.mark.parametrize(
    ("given", "looks"),
    [
        ({"sequence_steps": 10**7, "evaluations": 3}, 6),
        ({"sequence_steps": 4000, "evaluations": 3}, 0),
        ({"sequence_steps": 4000, "truncation": "adaptive"}, 12),
    ],
    ids=["long", "short", "adaptive"],
)
def test_a_short_training_has_few_but_those_that_its_truncation_scheme_learns_from(
    text_file: Path, given: dict[str, Any], looks: int
) -> None:
    assert len(training_of(text_file, **given).due) == looks


@pytest.mark.parametrize("evaluations", [1, 2, 3, 5, 8])
def test_every_interval_has_a_horizon_and_no_place_two(
    text_file: Path, storage: FolderStorage, monkeypatch: pytest.MonkeyPatch, evaluations: int
) -> None:
    measured: list[int] = []
    monkeypatch.setattr(TrainingRun, "measure_horizon", lambda self, look=0: measured.append(self.sequence_steps))
    workload: Any = workloads.load("language_model", {"text": str(text_file)})
    params = {**PARAMS, "sequence_steps": 60_000, "evaluations": evaluations}
    ends = [progress.sequence_steps for progress in workload.train(params, workload.prepare(), storage)]
    assert len(set(measured)) == len(measured)
    assert all(any(before < at <= after for at in measured) for before, after in pairwise([0, *ends]))


def test_what_a_horizon_reads_is_what_it_is_counted_for(text_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    run = training_of(text_file, sequence_steps=60_000, evaluations=2)
    window = run.source._window  # type: ignore[attr-defined]

    def counted(start: int, stop: int) -> Any:
        read.append(stop - start)
        return window(start, stop)

    monkeypatch.setattr(run.source, "_window", counted)
    run.measure_horizon()
    assert sum(read) * PARAMS["batch_size"] == run.source.horizon_reads()


def training_of(text_file: Path, **given: Any) -> TrainingRun:
    workload: Any = workloads.load("language_model", {"text": str(text_file)})
    return TrainingRun(*workload.begin({**PARAMS, **given}, workload.prepare()))
