"""Training on Ray: warm actors that take trial after trial, on this machine or on a cluster that grows and shrinks."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import BpttError, Unreachable, UserError
from orchestrator.executors.base import first_free
from orchestrator.executors.cluster import (
    Node,
    demand_of,
    fitting,
    grows_by_itself,
    in_words,
    nodes,
    options_of,
    refusal,
)
from orchestrator.executors.connection import Connection
from orchestrator.executors.measuring import least_machine, measure
from orchestrator.executors.ray_worker import RemoteWorker
from orchestrator.executors.share import Claim, exchange, fair_shares, withdraw
from orchestrator.machine import Machine
from orchestrator.trial import Assignment, Failure, Job, Moved, Reply, TrialState
from workloads.protocol import Progress

MOST_STILLBORN = 5
"""Workers that may die in a row before they are ready, or as many as there are."""
FOLLOW_S = 3.0
"""Between two looks at the nodes of the cluster and at who else is there."""
IDLE_S = 10.0
"""How long a worker is left idle before others may have its place."""
MOST_PENDING = 100
"""Workers waiting for room, at most: enough to make a cluster grow."""


@dataclass(slots=True)
class Slot:
    """One actor, and the trial it trains, if any."""

    actor: Any
    ready: Any
    """Reference to the outcome of its preparation, or of cleaning its GPU; None once that is known to be good."""
    place: int
    """Counted from 1; whoever comes for a worker that died takes its place."""
    number: int | None = None
    node: str = ""
    """Where it is; empty until it is prepared."""
    checkpoint: str | None = None
    """The last that its trial is known to have."""
    is_leaving: bool = False
    """Whether it ends once its trial has left it."""

    @property
    def is_free(self) -> bool:
        """Tell whether a trial can begin here."""
        return self.number is None and self.ready is None and not self.is_leaving


class RayExecutor:
    """Trials on Ray actors. A dead actor's trial is reported lost, and another actor takes the slot."""

    def __init__(self, address: str = "", *, workers: int | None = None) -> None:
        self._address = address
        self._limit = workers
        self._job: Job | None = None
        self._dataset: Any = None
        self._slots: list[Slot] = []
        self._asked: dict[Any, int] = {}
        self._left: list[tuple[int, Reply]] = []
        self._stillborn = 0
        self._connection: Connection | None = None
        self._room = self._target = 0
        """Workers that fit on the cluster, and that this sweep is to have of them."""
        self._looked_s = -math.inf
        self._hosts: dict[str, str] = {}
        self._idle_since_s: float | None = None
        self._is_sated = False
        """Whether the sweep left a worker idle for a while: it has nothing more to begin."""

    def warm_up(self, within_s: float = 0.0) -> None:
        """Begin to reach or to start Ray; what goes wrong is told by whatever needs it first."""
        if self._connection is None:
            self._connection = Connection(self._address)
        self._connection.begin(within_s)

    def _connect(self) -> None:
        self.warm_up()
        if self._connection is not None:
            self._connection.make()

    def machine(self, memory_gb: float | None = None) -> Machine:
        """Return the least that any machine of the cluster has: trials may come to any of them."""
        self._connect()
        return least_machine(self._address, memory_gb)

    def measure(self, function: Callable[..., Any], *arguments: Any, gpus: float = 0.0) -> Any:
        """Call a function in a worker process of Ray's, and return its answer; BpttError where that cannot be."""
        self._connect()
        return measure(function, *arguments, gpus=gpus)

    def open(self, job: Job) -> None:
        """Connect to Ray, or start it here; share the data; start the workers that fit now, or ask for them."""
        self._job = job
        self._connect()
        import ray

        # Put once: workers on a node read the same shared memory.
        self._dataset = ray.put(job.dataset)
        there = nodes()
        # Nothing but a head, which is often given nothing to do: a cluster that is coming up.
        is_coming_up = bool(self._address) and not any(node.has.get("CPU") for node in there)
        if not fitting(there, demand_of(job)) and not self._can_grow and not is_coming_up:
            self.close()
            raise UserError(refusal(there, demand_of(job)))
        self._follow()

    @property
    def _can_grow(self) -> bool:
        return bool(self._address) and (self._limit is not None or grows_by_itself())

    def _follow(self) -> None:
        """Look at the cluster every few seconds: have the workers there is room for, none on a node that goes."""
        now = time.monotonic()
        if self._job is None or now < self._looked_s + FOLLOW_S:
            return
        self._looked_s = now
        self._notice_idleness(now)
        import ray

        try:
            there = nodes()
            self._hosts |= {node.id: node.host for node in there}
            self._room = fitting(there, demand_of(self._job))
            self._target = min(self._wanted(), self._share(there))
        except (ray.exceptions.RayError, RuntimeError, OSError):
            return  # the head is away: what is there goes on
        staying = {"", *(node.id for node in there if not node.is_draining)}
        for slot in [slot for slot in self._slots if slot.node not in staying]:
            slot.is_leaving = True  # its worker hears it for itself, and its trial leaves at the next update
            if slot.number is None:
                self._drop(slot)
        self._hire_and_let_go()

    def _wanted(self) -> int:
        """Return the workers that this sweep would have, if it were alone."""
        if self._limit is None:
            return max(self._room, 1 if self._can_grow else 0)
        return self._limit if self._address else min(self._limit, self._room)

    def _share(self, there: list[Node]) -> int:
        """Return the workers that this sweep may have beside others on the cluster."""
        if not self._address or self._job is None:
            return self._wanted()
        import ray

        busy = sum(slot.number is not None for slot in self._slots)
        wants = min(self._wanted(), max(busy, 1)) if self._is_sated else self._wanted()
        claim = Claim(ray.get_runtime_context().get_job_id(), wants, demand_of(self._job))
        claims = exchange(claim)
        # Alone, and where the cluster grows when asked, nothing is divided: a cap is there for that.
        if len(claims) == 1 or (self._limit is not None and grows_by_itself()):
            return self._wanted()
        return fair_shares(claims, there)[claim.job]

    def _notice_idleness(self, now: float) -> None:
        if not any(slot.is_free for slot in self._slots):
            self._idle_since_s = None
        elif self._idle_since_s is None:
            self._idle_since_s = now
        elif now - self._idle_since_s > IDLE_S:
            self._is_sated = True

    def _hire_and_let_go(self) -> None:
        """Come as near to the target as can be without disturbing a trial."""
        staying = [slot for slot in self._slots if not slot.is_leaving]
        idle = sorted((slot for slot in staying if slot.number is None), key=lambda slot: bool(slot.node))
        for slot in idle[: max(len(staying) - self._target, 0)]:  # first those that have not come yet
            self._drop(slot)
        pending = sum(not slot.node for slot in self._slots)
        lacking = self._target - sum(not slot.is_leaving for slot in self._slots)
        for _ in range(min(lacking, MOST_PENDING - pending)):
            self._slots.append(self._hire())

    def _hire(self) -> Slot:
        import ray

        job = self._job
        if job is None:
            raise RuntimeError("open() comes before start()")
        actor = ray.remote(RemoteWorker).options(**options_of(job)).remote()
        # The dataset travels as an argument of its own, so that Ray passes shared memory rather than a copy.
        ready = actor.receive.remote(replace(job, dataset=None), self._dataset)  # type: ignore[arg-type]
        return Slot(actor, ready, first_free(slot.place for slot in self._slots))

    def _drop(self, slot: Slot) -> None:
        import ray

        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(slot.actor)
        self._slots.remove(slot)

    def _replace(self, slot: Slot) -> None:
        self._drop(slot)
        self._hire_and_let_go()

    @property
    def slots(self) -> int:
        """Return the workers that have come, without those that are to go once they are idle."""
        busy = sum(slot.number is not None for slot in self._slots)
        staying = sum(slot.number is not None and not slot.is_leaving for slot in self._slots)
        free = sum(slot.is_free for slot in self._slots)
        return busy + min(free, max(self._target - staying, 0))

    @property
    def waits_for(self) -> str:
        """Return in a line what nothing can be trained without now; empty where something can."""
        if self._job is None or any(slot.node for slot in self._slots):
            return ""
        if not self._room:
            wanted = in_words(demand_of(self._job))
            return f"no node of the cluster has {wanted} for a trial now; waiting for nodes that have"
        return "" if self._target else "all places of the cluster are other sweeps' now; waiting for one"

    def _greet(self, slot: Slot) -> None:
        """Take a worker that is ready into use, or another in its place."""
        import ray

        is_new = not slot.node
        try:
            answer: str = ray.get(slot.ready)
        except ray.exceptions.RayTaskError as error:
            if is_new:
                why = " ".join(str(error.cause or error).split())[:300]
                raise BpttError(f"a worker could not be prepared: {why}") from error
            self._replace(slot)
        except ray.exceptions.RayError as error:
            self._stillborn += is_new
            if self._stillborn > max(MOST_STILLBORN, len(self._slots)):
                why = str(error).strip().splitlines()[-1][:300]  # above it stands a traceback
                raise Unreachable(f"workers die one after the other before they are ready: {why}") from error
            self._replace(slot)
        else:
            slot.ready = None
            if is_new:
                slot.node, self._stillborn = answer, 0
            elif answer:  # GPU memory was left behind
                self._replace(slot)

    def _slot_of(self, number: int) -> Slot:
        return next(slot for slot in self._slots if slot.number == number)

    def worker_of(self, number: int) -> str:
        """Return the host that a trial is trained on, and the worker's place among all."""
        slot = self._slot_of(number)
        return f"{self._hosts.get(slot.node) or slot.node[:8]}/{slot.place}"

    def start(self, assignment: Assignment) -> None:
        """Begin or resume a trial on a free worker."""
        slot = next((slot for slot in self._slots if slot.is_free), None)
        if slot is None:
            raise RuntimeError("no slot is free")
        slot.number, slot.checkpoint = assignment.number, assignment.resume_from
        self._is_sated = False
        self._asked[slot.actor.start.remote(assignment)] = assignment.number

    def advance(self, number: int) -> None:
        """Ask for the next evaluation, or where the worker is to leave, have the trial go on elsewhere."""
        slot = self._slot_of(number)
        if slot.is_leaving:
            self._left.append((number, Moved(slot.checkpoint)))
        else:
            self._asked[slot.actor.advance.remote()] = number

    def release(self, number: int) -> None:
        """Give up a trial. A worker that is still training it is replaced: nothing else stops it."""
        self._left = [(left, reply) for left, reply in self._left if left != number]
        slot = next((slot for slot in self._slots if slot.number == number), None)
        if slot is None:
            return
        under_way = [reference for reference, asked in self._asked.items() if asked == number]
        for reference in under_way:
            del self._asked[reference]
        if under_way or slot.is_leaving:
            self._replace(slot)
            return
        slot.number, cleaned = None, slot.actor.release.remote()
        if self._job is not None and self._job.gpus:
            slot.ready = cleaned  # no trial begins there before what the last one took is free again
        self._hire_and_let_go()

    def wait(self, timeout_s: float) -> list[tuple[int, Reply]]:
        """Return the answers that came; a worker's death is one."""
        import ray

        self._follow()
        answers, self._left = self._left, []
        coming = {slot.ready: slot for slot in self._slots if slot.ready is not None}
        waited_for = [*self._asked, *coming]
        if not waited_for:
            time.sleep(0 if answers else timeout_s)
            return answers
        done, _ = ray.wait(waited_for, num_returns=1, timeout=0 if answers else timeout_s)
        if done:
            # Whatever else is there already is taken along.
            done, _ = ray.wait(waited_for, num_returns=len(waited_for), timeout=0)
        for reference in done:
            if reference in coming:
                if coming[reference] in self._slots:  # or it went with another of these answers
                    self._greet(coming[reference])
            else:
                number = self._asked.pop(reference)
                answers.append((number, self._collect(reference, number)))
        return answers

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
        if isinstance(reply, Progress):
            slot.checkpoint = reply.checkpoint
        slot.is_leaving = slot.is_leaving or isinstance(reply, Moved)
        if isinstance(reply, Failure) and self._spoils_its_process(reply):
            self._replace(slot)
        return reply

    def _spoils_its_process(self, failure: Failure) -> bool:
        """Tell whether what went wrong would stay: an error of CUDA's does, and memory that is not given back."""
        job = self._job
        return job is not None and bool(
            job.gpus or (job.memory_gb is not None and failure.state is TrialState.OUT_OF_MEMORY)
        )

    def close(self) -> None:
        """Stop the workers, and Ray itself where it was started here."""
        if self._connection is None:
            return
        import ray

        if self._address and self._connection.is_made:
            with contextlib.suppress(ray.exceptions.RayError, RuntimeError, OSError):
                withdraw(ray.get_runtime_context().get_job_id())
        for slot in list(self._slots):
            self._drop(slot)
        self._asked.clear()
        self._left.clear()
        self._connection.end()
        self._connection = None
