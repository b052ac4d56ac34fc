"""The Ray cluster: reaching it or starting it, its nodes, and how many workers fit on them."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import BpttError, UserError
from orchestrator.trial import Job

PROBE_S = 60.0
"""How long a probe waits for Ray to run a task."""
IMPATIENCE = {"RAY_raylet_client_connect_timeout_milliseconds": "20", "RAY_raylet_client_num_connect_attempts": "500"}
"""Ray's own processes look for each other ten times, a second apart. Where one looks just before the other is there, as
a quarter of them do and most while the machine is busy, a start takes that second longer."""
REGISTERED_WITHIN_S = 5.0
"""How long a Ray that is started here is looked at every moment before it is left to Ray to wait for it."""
OF_KIND = 0.001
"""Of a node's accelerator type, which Ray counts as a resource: enough to be placed there."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node that is alive."""

    id: str
    has: Mapping[str, float]
    """Resources by Ray's names, taken or free."""
    is_draining: bool = False
    """Whether it is about to go: Ray places nothing there any more."""
    host: str = ""
    """As the machine calls itself."""


def connect(address: str) -> None:
    """Connect to the Ray cluster at `address`, or start Ray here, shut to everyone without a token.

    Raises BpttError where neither works.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not address:
        for name, value in IMPATIENCE.items():
            os.environ.setdefault(name, value)
    if not address and "RAY_AUTH_MODE" not in os.environ:
        # Ray listens on every interface, and whoever reaches it runs code as this user.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    if ":" in address and "//" not in address:
        # Ray itself tries for most of a minute before it says that nothing is there.
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except (OSError, ValueError, OverflowError) as error:
            raise UserError(f"address: Ray at {address} cannot be reached: {error}; see `bptt doctor`") from error
    # Ray reads its variables once, when it is imported.
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    if address:
        options["address"] = address
    else:
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "address": "local"}
    # Ray puts a handler of its own on SIGTERM, which ends the process at once.
    in_main_thread = threading.current_thread() is threading.main_thread()
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        with contextlib.nullcontext() if address else bare():
            if in_main_thread:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    ray.init(**options)
            else:
                # What filters there are is the whole process's. Ray warns that it puts no handler on SIGTERM here.
                warnings.filterwarnings("ignore", module=r"ray(\.|$)")
                for name in ("utils", "worker"):
                    logging.getLogger(f"ray._private.{name}").setLevel(logging.ERROR)
                ray.init(**options)
        if in_main_thread:
            signal.signal(signal.SIGTERM, on_terminate)
    except Exception as error:
        where = f"Ray at {address} cannot be reached" if address else "Ray cannot be started here"
        raise BpttError(f"{where}: {' '.join(str(error).split())[:300].rstrip('.')}; see `bptt doctor`") from error


@contextlib.contextmanager
def bare() -> Iterator[None]:
    """Start Ray without what serves nobody here: the dashboard's server, the log monitor and the autoscaler.

    They take a second of waiting and two of a CPU, just when workers start. Nobody but Ray itself is offered this;
    where a version of Ray does not have it, they are started.
    """
    import ray

    try:
        place = ray._private.node
        whole = place.Node
    except AttributeError:
        yield
        return

    class Bare(whole):  # type: ignore[misc, valid-type]
        def start_monitor(self) -> None:
            pass

        def start_log_monitor(self) -> None:
            pass

        def start_api_server(self, **_: Any) -> None:
            self._webui_url = ""  # as it is where the dashboard is left out

        def start_ray_processes(self) -> None:
            super().start_ray_processes()
            # Ray looks whether its node is there, and where it is not, a second later again.
            until = time.monotonic() + REGISTERED_WITHIN_S
            with contextlib.suppress(AttributeError, ray.exceptions.RayError):
                while (left := until - time.monotonic()) > 0 and not self._gcs_client.get_all_node_info(timeout=left):
                    time.sleep(0.01)

    place.Node = Bare
    try:
        yield
    finally:
        place.Node = whole


def nodes() -> list[Node]:
    """Return the nodes that are alive."""
    import ray

    draining = draining_nodes()
    return [
        Node(node["NodeID"], node["Resources"], node["NodeID"] in draining, node.get("NodeManagerHostname", ""))
        for node in ray.nodes()
        if node["Alive"]
    ]


def draining_nodes() -> set[str]:
    """Return the ids of nodes that were given notice, by `ray drain-node`, an autoscaler or their own end (SIGTERM).

    Nobody but Ray's own libraries is offered this; where a version of Ray does not have it, notice is not heard.
    """
    import ray

    with contextlib.suppress(AttributeError, RuntimeError, ray.exceptions.RayError):
        return set(ray._private.state.state.get_draining_nodes())
    return set()


def grows_by_itself() -> bool:
    """Tell whether the cluster says of itself that it has an autoscaler; not all that have one do."""
    import ray

    with contextlib.suppress(AttributeError, RuntimeError, ray.exceptions.RayError):
        return ray._private.state.state.get_cluster_config() is not None
    return False


def demand_of(job: Job) -> dict[str, float]:
    """Return what one worker takes of a node, by Ray's names."""
    demand = {"CPU": job.cpus, "GPU": job.gpus, "memory": (job.memory_gb or 0.0) * 1e9, **job.custom}
    if job.accelerator is not None:
        demand[f"accelerator_type:{job.accelerator}"] = OF_KIND
    return {name: amount for name, amount in demand.items() if amount}


def options_of(job: Job) -> dict[str, Any]:
    """Return what Ray is told of a worker."""
    options: dict[str, Any] = {"num_cpus": job.cpus, "num_gpus": job.gpus, "resources": dict(job.custom)}
    if job.memory_gb is not None:
        options["memory"] = int(job.memory_gb * 1e9)
    if job.accelerator is not None:
        options["accelerator_type"] = job.accelerator
    if job.placement == "spread":
        options["scheduling_strategy"] = "SPREAD"
    return {**options, "max_restarts": 0}


def fitting(there: Sequence[Node], demand: Mapping[str, float]) -> int:
    """Return how many workers fit on the nodes that stay, node by node, if nobody else is there."""

    def times(name: str, amount: float, has: Mapping[str, float]) -> float:
        if name == "GPU" and amount < 1:  # a part of one, never parts of two
            return int(has.get(name, 0.0)) * int(1 / amount + 1e-9)
        return has.get(name, 0.0) / amount

    stay = [node.has for node in there if not node.is_draining]
    return sum(int(min(times(name, amount, has) for name, amount in demand.items()) + 1e-9) for has in stay)


def in_words(demand: Mapping[str, float]) -> str:
    """Return resources in words: `1 CPU and 0.25 GPU`."""
    words = []
    for name, amount in demand.items():
        kind = name.removeprefix("accelerator_type:")
        if kind != name:
            words.append(f"{'an' if amount else 'no'} accelerator {kind}")
        else:
            words.append(f"{amount / 1e9:.3g} GB of memory" if name == "memory" else f"{amount:g} {name}")
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def refusal(there: Sequence[Node], demand: Mapping[str, float]) -> str:
    """Return in a line that no node has what a worker takes, and what the cluster has."""
    has = {name: sum(node.has.get(name, 0.0) for node in there) for name in {"CPU": 0, "GPU": 0, **demand}}
    enough = all(has[name] >= amount for name, amount in demand.items())
    apart = "; no node has all of it" if enough else ""
    return f"resources: a trial asks for {in_words(demand)}; the cluster has {in_words(has)}{apart}"


def probe(address: str) -> dict[str, float]:
    """Start or reach Ray as a sweep would, run a task there, and return what the cluster has.

    Raises BpttError where any of it fails.
    """
    connect(address)
    import ray

    try:
        ray.get(ray.remote(num_cpus=1)(_nothing).remote(), timeout=PROBE_S)
        return dict(ray.cluster_resources())
    except ray.exceptions.GetTimeoutError as error:
        raise BpttError(f"Ray started, but ran no task within {PROBE_S:g} s; are all its CPUs taken?") from error
    except ray.exceptions.RayError as error:
        raise BpttError(f"Ray started, but its workers do not: {' '.join(str(error).split())[:300]}") from error
    finally:
        ray.shutdown()


def _nothing() -> None:
    """Run where a probe sends it."""
