"""How a process that trains takes memory from the system: large tensors apart, in huge pages.

glibc's malloc holds the largest blocks apart and all others on a heap, which holes are left in. What counts as large it
raises by itself, to 32 MB at last, so that most tensors come to lie among the holes: the same training took 530 to 620
MB, by chance. Here that stays at 4 MB: peaks are the same in each run, and lower. A block held apart is new to the
process each time, which costs time by the page; huge pages are few enough for that.

Nothing is loaded here: torch looks for its part of it when it makes its first tensor.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

LARGE_BLOCK = 4 * 2**20
"""Bytes from which a block is held apart."""
KEPT_FREE_BYTES = 32 * 2**20
"""Free bytes at the heap's end that are not given back, as malloc has it by itself once it has seen large blocks."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def hold_tensors_apart() -> bool:
    """Have large blocks held apart from now on; tell whether this system does so. To be called before tensors are made.

    Without huge pages nothing is changed: an update of many large tensors would take up to twice as long.
    """
    if sys.platform != "linux" or not has_huge_pages():
        return False
    with contextlib.suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        if set_option(M_MMAP_THRESHOLD, LARGE_BLOCK) and set_option(M_TRIM_THRESHOLD, KEPT_FREE_BYTES):
            os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
            return True
    return False


def has_huge_pages() -> bool:
    """Tell whether a process may have huge pages for the asking."""
    try:
        return "[never]" not in HUGE_PAGES.read_text(encoding="ascii")
    except OSError:
        return False
