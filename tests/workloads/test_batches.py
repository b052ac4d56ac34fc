"""Batches of whole sequences: all of them once an epoch, of similar length, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.data.batches import BucketBatches, by_length, pad


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=200), batch_size=st.integers(1, 40))
def test_every_sequence_comes_once_an_epoch(lengths: list[int], batch_size: int) -> None:
    batches = BucketBatches(np.array(lengths), batch_size, seed=0)
    for epoch in range(2):
        found = [batches.batch(epoch, index) for index in range(batches.count)]
        assert sorted(np.concatenate(found)) == list(range(len(lengths)))
        assert max(map(len, found)) <= batch_size
    assert sorted(np.concatenate(list(by_length(lengths, batch_size)))) == list(range(len(lengths)))


def test_batches_hold_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(10, 1000, 2000)
    batches = BucketBatches(lengths, 16, seed=0)
    padded = sum(lengths[found].max() * len(found) for found in (batches.batch(0, i) for i in range(batches.count)))
    assert padded < 1.1 * lengths.sum()


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    lengths = np.arange(100)
    first, again, other = (BucketBatches(lengths, 8, seed) for seed in (1, 1, 2))
    first.batch(0, 0)
    assert first.batch(3, 5).tolist() == again.batch(3, 5).tolist()
    assert first.batch(3, 5).tolist() != first.batch(4, 5).tolist()
    assert [first.batch(0, i).tolist() for i in range(13)] != [other.batch(0, i).tolist() for i in range(13)]


def test_padding_fills_the_ends() -> None:
    padded = pad([np.array([1, 2, 3]), np.array([4])], -1)
    assert padded.tolist() == [[1, 4], [2, -1], [3, -1]]


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(ValueError, match="no sequences"):
        BucketBatches(np.zeros(0, int), 4, 0)
