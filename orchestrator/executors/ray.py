"""Training on Ray: warm actors that take trial after trial, on this machine or on a cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import BpttError, UserError
from orchestrator.machine import Machine, gpu_memory_here, limited, this_machine
from orchestrator.trial import Assignment, Failure, Job, Reply, TrialState
from orchestrator.worker import Worker

MOST_STILLBORN = 5
"""Workers that may die in a row before they are ready, or as many as there are."""
MEASURE_S = 180.0
"""How long measuring waits for a free place on the cluster, and for its answer."""
SLIVER = 0.01
"""Of a GPU, for asking it something."""
PROBE_S = 60.0
"""How long a probe waits for Ray to run a task."""


@dataclass(slots=True)
class Slot:
    """One actor, and the trial it trains, if any."""

    actor: Any
    ready: Any
    """Reference to the outcome of its preparation; None once that is known to be good."""
    number: int | None = None


class RayExecutor:
    """Trials on Ray actors. A dead actor's trial is reported lost, and another actor takes the slot."""

    def __init__(self, address: str = "", *, workers: int | None = None) -> None:
        self._address = address
        self._limit = workers
        self._job: Job | None = None
        self._dataset: Any = None
        self._slots: list[Slot] = []
        self._asked: dict[Any, int] = {}
        self._stillborn = 0
        self._is_connected = False

    def _connect(self) -> None:
        if not self._is_connected:
            connect(self._address)
            self._is_connected = True

    def machine(self, memory_gb: float | None = None) -> Machine:
        """Return the least that any machine of the cluster has: trials may come to any of them."""
        self._connect()
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not self._address:
            return replace(this_machine(memory_gb), gpus=int(nodes[0].get("GPU", 0)), cpus=int(nodes[0].get("CPU", 1)))
        with_gpus = [node for node in nodes if node.get("GPU")] or nodes
        return Machine(
            self._address,
            cpus=int(min(node.get("CPU", 1) for node in with_gpus)),
            gpus=int(min(node.get("GPU", 0) for node in with_gpus)),
            memory_bytes=limited(min((node["memory"] for node in nodes if "memory" in node), default=None), memory_gb),
            gpu_memory_bytes=self.measure(gpu_memory_here, gpus=SLIVER) if with_gpus[0].get("GPU") else None,
        )

    def measure(self, function: Callable[..., Any], *arguments: Any, gpus: float = 0.0) -> Any:
        """Call a function in a worker process of Ray's, and return its answer; BpttError where that cannot be."""
        self._connect()
        import ray

        # One call a process: what a process takes tells of nothing once it has done something else.
        task = ray.remote(max_calls=1, num_cpus=1, num_gpus=gpus)(_call)
        try:
            return ray.get(task.remote(function, arguments, gpus), timeout=MEASURE_S)
        except ray.exceptions.RayError as error:
            why = str(getattr(error, "cause", None) or error).strip().splitlines()[-1:]
            raise BpttError(f"nothing could be measured on a worker: {' '.join(why)[:300]}") from error

    def open(self, job: Job) -> None:
        """Connect to Ray, or start it here; share the data; start the workers."""
        self._job = job
        self._connect()
        import ray

        # Put once: workers on a node read the same shared memory.
        self._dataset = ray.put(job.dataset)
        count = self._fitting(job)
        if count == 0:
            wanted = f"{job.cpus:g} CPU" + (f" and {job.gpus:g} GPU" if job.gpus else "")
            has = ray.cluster_resources()
            self.close()
            raise UserError(
                f"resources: a trial asks for {wanted}; the cluster has {has.get('CPU', 0):g} CPU and "
                f"{has.get('GPU', 0):g} GPU"
            )
        self._slots = [self._hire() for _ in range(count)]

    def _fitting(self, job: Job) -> int:
        """Return how many workers fit on the cluster, node by node."""
        import ray

        count = 0
        for node in ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                by_cpu = has.get("CPU", 0.0) / job.cpus
                by_gpu = has.get("GPU", 0.0) / job.gpus if job.gpus else by_cpu
                count += int(min(by_cpu, by_gpu) + 1e-9)
        return min(count, self._limit or count)

    def _hire(self) -> Slot:
        import ray

        job = self._job
        if job is None:
            raise RuntimeError("open() comes before start()")
        options = {"num_cpus": job.cpus, "num_gpus": job.gpus, "max_restarts": 0}
        actor = ray.remote(RemoteWorker).options(**options).remote()
        # The dataset travels as an argument of its own, so that Ray passes shared memory rather than a copy.
        ready = actor.receive.remote(replace(job, dataset=None), self._dataset)  # type: ignore[arg-type]
        return Slot(actor, ready)

    @property
    def slots(self) -> int:
        """Return the number of workers that had come when last waited for: Ray keeps some waiting for room."""
        return sum(slot.ready is None for slot in self._slots)

    def _greet(self, timeout_s: float) -> None:
        """Look which of the workers that were waited for have come, or will never come."""
        import ray

        awaited = {slot.ready: slot for slot in self._slots if slot.ready is not None}
        if not awaited:
            return
        come, _ = ray.wait(list(awaited), num_returns=1, timeout=timeout_s)
        for reference in come:
            try:
                ray.get(reference)
                awaited[reference].ready = None
                self._stillborn = 0
            except ray.exceptions.RayTaskError as error:
                why = " ".join(str(error.cause or error).split())[:300]
                raise BpttError(f"a worker could not be prepared: {why}") from error
            except ray.exceptions.RayError as error:
                self._stillborn += 1
                if self._stillborn > max(MOST_STILLBORN, len(self._slots)):
                    why = str(error).strip().splitlines()[-1][:300]  # above it stands a traceback
                    raise BpttError(f"workers die one after the other before they are ready: {why}") from error
                self._replace(awaited[reference])

    def _slot_of(self, number: int) -> Slot:
        return next(slot for slot in self._slots if slot.number == number)

    def start(self, assignment: Assignment) -> None:
        """Begin or resume a trial on a free worker."""
        slot = next((slot for slot in self._slots if slot.number is None and slot.ready is None), None)
        if slot is None:
            raise RuntimeError("no slot is free")
        slot.number = assignment.number
        self._asked[slot.actor.start.remote(assignment)] = assignment.number

    def advance(self, number: int) -> None:
        """Ask for the next evaluation."""
        self._asked[self._slot_of(number).actor.advance.remote()] = number

    def release(self, number: int) -> None:
        """Give up a trial. A worker that is still training it is replaced: nothing else stops it."""
        slot = next((slot for slot in self._slots if slot.number == number), None)
        if slot is None:
            return
        under_way = [reference for reference, asked in self._asked.items() if asked == number]
        for reference in under_way:
            del self._asked[reference]
        if under_way:
            self._replace(slot)
        else:
            slot.actor.release.remote()
            slot.number = None

    def _replace(self, slot: Slot) -> None:
        import ray

        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(slot.actor)
        self._slots.remove(slot)
        self._slots.append(self._hire())

    def wait(self, timeout_s: float) -> list[tuple[int, Reply]]:
        """Return the answers that came; a worker's death is one."""
        import ray

        self._greet(0.0 if self._asked else timeout_s)
        if not self._asked:
            return []
        done, _ = ray.wait(list(self._asked), num_returns=1, timeout=timeout_s)
        if done:
            # Whatever else is there already is taken along.
            done, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)
        return [
            (number, self._collect(reference, number)) for reference in done for number in [self._asked.pop(reference)]
        ]

    def _collect(self, reference: Any, number: int) -> Reply:
        import ray

        slot = self._slot_of(number)
        try:
            reply: Reply = ray.get(reference)
        except ray.exceptions.OutOfMemoryError as error:
            self._replace(slot)
            return Failure(
                TrialState.OUT_OF_MEMORY, "the node ran out of memory and Ray stopped the worker", str(error)
            )
        except ray.exceptions.RayTaskError as error:
            self._replace(slot)
            cause = error.cause or error
            return Failure(TrialState.FAILED, f"{type(cause).__name__}: {cause}".splitlines()[0][:500], str(error))
        except ray.exceptions.RayError as error:
            self._replace(slot)
            return Failure(TrialState.LOST, "the worker died", str(error))
        if self._job is not None and self._job.gpus and isinstance(reply, Failure):
            self._replace(slot)  # an error of CUDA's stays with its process and would fail every trial after this one
        return reply

    def close(self) -> None:
        """Stop the workers, and Ray itself where it was started here."""
        if not self._is_connected:
            return
        import ray

        self._is_connected = False
        for slot in self._slots:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(slot.actor)
        self._slots.clear()
        self._asked.clear()
        ray.shutdown()


class RemoteWorker(Worker):
    """A worker that is given its data by Ray."""

    def receive(self, job: Job, dataset: Any) -> None:
        """Take over the job, with arrays that lie in shared memory."""
        if not job.gpus:
            hide_gpus()
        self.prepare(replace(job, dataset=dataset))


def connect(address: str) -> None:
    """Connect to the Ray cluster at `address`, or start Ray here, shut to everyone without a token.

    Raises BpttError where neither works.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(**options)
        if in_main_thread:
            signal.signal(signal.SIGTERM, on_terminate)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"Ray at {address} cannot be reached" if address else "Ray cannot be started here"
        raise BpttError(f"{where}: {' '.join(str(error).split())[:300]}; see `bptt doctor`") from error


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


def _call(function: Callable[..., Any], arguments: Sequence[Any], gpus: float) -> Any:
    """Call a function as a worker would be called."""
    if not gpus:
        hide_gpus()
    return function(*arguments)


def hide_gpus() -> None:
    """Hide the GPUs: Ray leaves a process that was given none all that its node shows. Torch is not loaded yet."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def _nothing() -> None:
    """Run where a probe sends it."""
