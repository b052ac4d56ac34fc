"""Work in processes forked from this one: the quickest way to two of them with torch loaded."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any


def fork(*functions: Callable[[], None]) -> None:
    """Run each function in a process of its own, all at once; RuntimeError where one fails."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=function) for function in functions]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"processes ended with {[process.exitcode for process in processes]}")


def take(left: Any) -> int | None:
    """Take one from a number that processes share; None where nothing is left."""
    with left.get_lock():
        if left.value == 0:
            return None
        left.value -= 1
        return int(left.value)
