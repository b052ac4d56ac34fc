"""How a process that trains takes memory from the system: large tensors apart, in huge pages.

glibc's malloc holds the largest blocks apart and all others on a heap, which holes are left in. What counts as large it
raises by itself, to 32 MB at last, so that most tensors come to lie among the holes: the same training took 530 to 620
MB, by chance. Here that stays at 4 MB: peaks are lower, and the same in each run but for what lies beside tensors of 2
to 4 MB, which torch asks for huge pages for too. A block held apart is new to the process each time, which costs time
by the page; huge pages are few enough for that.

Nothing is loaded here: torch looks for its part of it when it makes its first tensor.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from functools import cache
from pathlib import Path

LARGE_BLOCK = 4 * 2**20
"""Bytes from which a block is held apart."""
KEPT_FREE_BYTES = 32 * 2**20
"""Free bytes at the heap's end that are not given back, as malloc has it by itself once it has seen large blocks."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
OURS = {"THP_MEM_ALLOC_ENABLE": "1"}
"""What tells torch to ask for huge pages."""
CHOICES = (*OURS, "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""Variables by which users choose how memory is taken."""
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@cache
def hold_tensors_apart() -> bool:
    """Have large blocks held apart from now on; tell whether they are. To be called before torch is loaded.

    Nothing is changed where torch may have made tensors without huge pages, nor where they may not be held apart.
    """
    if "torch" in sys.modules or not may_hold_apart():
        return False
    with contextlib.suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        if set_option(M_MMAP_THRESHOLD, LARGE_BLOCK) and set_option(M_TRIM_THRESHOLD, KEPT_FREE_BYTES):
            os.environ.update(OURS)
            return True
    return False


def may_hold_apart() -> bool:
    """Tell whether large blocks are to be held apart in a process of this machine and environment.

    Without huge pages they are not: an update of many large tensors would take up to twice as long. Nor are they where
    somebody has chosen otherwise.
    """
    chosen = {name: os.environ[name] for name in CHOICES if name in os.environ}
    return sys.platform == "linux" and chosen in ({}, OURS) and has_huge_pages()


def has_huge_pages() -> bool:
    """Tell whether a process may have huge pages for the asking."""
    try:
        refused = "THP_enabled:\t0" in Path("/proc/self/status").read_text(encoding="utf-8")
        return not refused and "[never]" not in HUGE_PAGES.read_text(encoding="ascii")
    except OSError:
        return False
