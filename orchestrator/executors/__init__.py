"""Where trials are trained: on Ray, or in this process."""

from __future__ import annotations

from orchestrator.executors.base import Executor


def make_executor(address: str = "", *, workers: int | None = None, in_process: bool = False) -> Executor:
    """Return the executor asked for; nothing is started before it is opened."""
    if in_process:
        from orchestrator.executors.local import LocalExecutor

        return LocalExecutor(workers or 1)
    from orchestrator.executors.ray import RayExecutor

    return RayExecutor(address, workers=workers)
