"""What runs in Ray's worker processes: the actor that trains, and the call that measures."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.executors.cluster import draining_nodes
from orchestrator.trial import Job
from orchestrator.worker import Worker

NOTICE_S = 2.0
"""Between two questions whether this node was given notice."""


class RemoteWorker(Worker):
    """A worker that is given its data by Ray, and leaves in good order when its node or process is to end."""

    def receive(self, job: Job, dataset: Any) -> str:
        """Take over the job, with arrays that lie in shared memory; return the id of this node."""
        import ray

        if not job.gpus:
            hide_gpus()
        self.prepare(replace(job, dataset=dataset))
        # Ray runs the methods of such an actor in the main thread, where alone Python hears signals. With a concurrency
        # group for notices it would not, so a thread listens for them.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._on_terminate)
        node: str = ray.get_runtime_context().get_node_id()
        threading.Thread(target=self._listen, args=(node,), name="notices", daemon=True).start()
        return node

    def _on_terminate(self, number: int, _frame: object) -> None:
        """Leave at the next update; a second signal ends the process at once."""
        self.leave()
        signal.signal(number, self._before)

    def _listen(self, node: str) -> None:
        while node not in draining_nodes():
            time.sleep(NOTICE_S)
        self.leave()


def call(function: Callable[..., Any], arguments: Sequence[Any], gpus: float) -> Any:
    """Call a function as a worker would be called."""
    if not gpus:
        hide_gpus()
    return function(*arguments)


def hide_gpus() -> None:
    """Hide the GPUs: Ray leaves a process that was given none all that its node shows. Torch is not loaded yet."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
