"""Room for trials: what never fits, what waits, and what `resources: auto` gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.machine import Machine
from orchestrator.room import GPU_CONTEXT, Room, allot, gigabytes, room_for
from orchestrator.spec import Resources
from workloads.protocol import Params

GB = 1e9


def needed(params: Params) -> float | None:
    value = params.get("gb")
    return None if value is None else float(value) * GB


def of(*sizes: float) -> list[Params]:
    return [{"gb": size} for size in sizes]


def test_a_setting_above_the_memory_is_refused_with_what_was_predicted_and_what_is_allowed() -> None:
    room = Room(needed, 4 * GB, 2, "node")
    assert room.refuses({"gb": 5}) == "not started: 5.0 GB of memory predicted, 4.0 GB allowed on node"
    assert room.refuses({"gb": 4}) == ""


def test_what_nobody_can_predict_is_never_refused_and_never_waits() -> None:
    room = Room(needed, 4 * GB, 2)
    assert room.refuses({}) == ""
    assert room.admits({}, of(4))
    assert Room().admits({"gb": 1e9}, of(1e9))
    assert not Room().refuses({"gb": 1e9})


def test_a_trial_waits_while_those_under_way_leave_it_no_room() -> None:
    room = Room(needed, 4 * GB, together=3)
    assert room.admits({"gb": 1}, of(1, 2))
    assert not room.admits({"gb": 2}, of(1, 2))


def test_on_several_machines_only_as_many_count_as_can_meet_on_one() -> None:
    room = Room(needed, 4 * GB, together=2)
    assert room.admits({"gb": 2}, of(2, 2, 2, 1))
    assert not room.admits({"gb": 1}, of(3.5, 0.1, 0.1))


@given(sizes=st.lists(st.floats(0.1, 10), min_size=1, max_size=30), together=st.integers(1, 5))
def test_trials_admitted_never_take_more_than_the_memory_together_and_none_waits_for_ever(
    sizes: list[float], together: int
) -> None:
    room, under_way = Room(needed, 10 * GB, together), list[Params]()
    for size in sizes:
        while not room.admits({"gb": size}, under_way):
            assert under_way  # something is under way whose end will make room
            under_way.pop(0)
        under_way.append({"gb": size})
        largest = sorted((params["gb"] for params in under_way), reverse=True)[:together]
        assert sum(largest) <= 10.0000001


@pytest.mark.parametrize(
    ("machine", "trials", "needs", "cpus", "gpus"),
    [
        (Machine("m", 8, memory_bytes=64 * GB), 20, [1 * GB], 1, 0),
        (Machine("m", 8, memory_bytes=64 * GB), 2, [1 * GB], 4, 0),
        (Machine("m", 8, memory_bytes=4 * GB), 20, [1 * GB, 2 * GB, 8 * GB], 4, 0),
        (Machine("m", 8, memory_bytes=4 * GB), 20, [1 * GB, 9 * GB, 9 * GB], 2, 0),
        (Machine("m", 8, memory_bytes=None), 20, [9 * GB], 1, 0),
        (Machine("m", 8), 20, [], 1, 0),
        (Machine("m", 16, 1, 64 * GB, 80 * GB), 20, [19.4 * GB], 4, 0.25),
        (Machine("m", 16, 1, 64 * GB, 80 * GB), 20, [0.1 * GB], 1, 1 / 16),
        (Machine("m", 16, 1, 64 * GB, 80 * GB), 20, [100 * GB], 16, 1),
        (Machine("m", 16, 4, 64 * GB, 80 * GB), 20, [0.1 * GB], 1, 0.25),
        (Machine("m", 16, 1, 64 * GB, None), 20, [], 16, 1),
    ],
)
def test_auto_lets_small_trials_share_and_gives_idle_cpus_as_threads(
    machine: Machine, trials: int, needs: list[float], cpus: float, gpus: float
) -> None:
    assert allot(machine, trials, needs) == Resources(cpus=cpus, gpus=gpus)


def test_trials_that_share_a_gpu_share_its_memory_less_what_each_process_takes() -> None:
    machine = Machine("m", 16, 1, 64 * GB, 8 * GB)
    room = room_for(machine, Resources(cpus=1, gpus=0.25), needed)
    assert room.together == 4
    assert room.refuses({"gb": 7.5}).endswith("8.0 GB allowed on a GPU of m")
    assert room.admits({"gb": 1}, of(1, 1, 1))
    assert not room.admits({"gb": (8 * GB - 2 * GPU_CONTEXT) / GB - 1 + 0.01}, of(1))


def test_a_machine_that_does_not_say_its_memory_limits_nothing() -> None:
    assert room_for(Machine("m", 8), Resources(), needed).refuses({"gb": 1e6}) == ""


def test_workers_limit_how_many_share() -> None:
    machine = Machine("m", 8, memory_bytes=8 * GB)
    assert room_for(machine, Resources(cpus=2), needed).together == 4
    assert room_for(machine, Resources(cpus=1, workers=2), needed).together == 2


def test_bytes_are_said_in_words() -> None:
    assert (gigabytes(340e6), gigabytes(2.14e9)) == ("340 MB", "2.1 GB")
