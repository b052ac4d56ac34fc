"""Where states are kept: never more than allowed, and no chunk is run again more often than need be."""

from __future__ import annotations

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.bptt.snapshots import Snapshots


@cache
def fewest_runs(chunks: int, snapshots: int) -> int:
    """Return the fewest runs that reverse a chain, by dynamic programming (Gruslys et al., 2016)."""
    if chunks <= 1:
        return 0
    if not snapshots:
        return chunks * (chunks - 1) // 2
    return min(
        first + fewest_runs(chunks - first, snapshots - 1) + fewest_runs(first, snapshots) for first in range(1, chunks)
    )


@settings(deadline=None, max_examples=100)
@given(chunks=st.integers(1, 60), limit=st.integers(0, 12))
def test_states_come_back_in_reverse_with_the_fewest_runs_and_never_more_kept_than_allowed(
    chunks: int, limit: int
) -> None:
    snapshots, runs = Snapshots(chunks, limit), 0
    for chunk in range(chunks):  # the state before each chunk stands here for its number
        snapshots.offer(chunk, chunk)  # type: ignore[arg-type]
    on_the_way_forward = max(snapshots.kept)

    def run(chunk: int, state: object) -> object:
        nonlocal runs
        assert state == chunk
        runs += 1
        return chunk + 1

    for chunk in reversed(range(chunks)):
        assert snapshots.before(chunk, run) == chunk  # type: ignore[arg-type]
        assert len(snapshots.kept) <= limit + 1
    assert runs + on_the_way_forward == fewest_runs(chunks, limit)


def test_without_a_limit_nothing_is_run_again() -> None:
    snapshots = Snapshots(50, None)
    for chunk in range(50):
        snapshots.offer(chunk, chunk)  # type: ignore[arg-type]
    for chunk in reversed(range(50)):
        assert snapshots.before(chunk, never) == chunk  # type: ignore[arg-type]


def never(chunk: int, state: object) -> object:
    raise AssertionError(f"chunk {chunk} was run again")
