"""What Ray's machines have, and what is measured on them before a sweep; Ray must be connected."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.errors import BpttError
from orchestrator.executors.cluster import nodes
from orchestrator.executors.ray_worker import call
from orchestrator.machine import Machine, gpu_memory_here, limited, this_machine

if TYPE_CHECKING:
    from ray.util.placement_group import PlacementGroup

MEASURE_S = 180.0
"""How long measuring may take once it has a place."""
SOON_S, LOOK_EVERY_S = 10.0, 5.0
"""Until a cluster without a free place is called full; how long each look for one waits then."""
SLIVER = 0.01
"""Of a GPU, for asking it something."""


def least_machine(address: str, memory_gb: float | None) -> Machine:
    """Return the least that any machine of the cluster at `address` has, or this machine where that is empty."""
    has = [node.has for node in nodes()]
    if not address:
        return replace(this_machine(memory_gb), gpus=int(has[0].get("GPU", 0)), cpus=int(has[0].get("CPU", 1)))
    has = [node for node in has if node.get("CPU")] or has  # heads are often given nothing to do
    with_gpus = [node for node in has if node.get("GPU")] or has
    return Machine(
        address,
        cpus=int(min(node.get("CPU", 1) for node in with_gpus)),
        gpus=int(min(node.get("GPU", 0) for node in with_gpus)),
        memory_bytes=limited(min((node["memory"] for node in has if "memory" in node), default=None), memory_gb),
        gpu_memory_bytes=measure(gpu_memory_here, gpus=SLIVER) if with_gpus[0].get("GPU") else None,
    )


@contextmanager
def free_place(gpus: float) -> Iterator[PlacementGroup]:
    """Hold a CPU of the cluster, and so much of a GPU beside it; waits for it for as long as others have them all."""
    from ray.util import placement_group, remove_placement_group

    place = placement_group([{"CPU": 1, **({"GPU": gpus} if gpus else {})}])
    try:
        if not place.wait(SOON_S):
            sys.stderr.write("bptt: the cluster is full; waiting for a free place to measure what trials take\n")
            while not place.wait(LOOK_EVERY_S):
                pass
        yield place
    finally:
        remove_placement_group(place)


def measure_as_in_a_worker(function: Callable[..., Any], *arguments: Any, gpus: float = 0.0) -> Any:
    """Call a function in this process with Ray loaded, which takes memory in each of its workers."""
    import ray  # noqa: F401

    return function(*arguments)


def measure(function: Callable[..., Any], *arguments: Any, gpus: float = 0.0) -> Any:
    """Call a function in a worker process of Ray's, and return its answer; BpttError where that cannot be."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    # One call a process: what a process takes tells of nothing once it has done something else.
    task = ray.remote(max_calls=1, num_cpus=1, num_gpus=gpus)(call)
    try:
        with free_place(gpus) as place:
            here = PlacementGroupSchedulingStrategy(place)
            return ray.get(task.options(scheduling_strategy=here).remote(function, arguments, gpus), timeout=MEASURE_S)
    except ray.exceptions.RayError as error:
        why = str(getattr(error, "cause", None) or error).strip().splitlines()[-1:]
        raise BpttError(f"nothing could be measured on a worker: {' '.join(why)[:300]}") from error
