"""Libraries that only some workloads need: imported late, and named with the way to install them where missing."""

from __future__ import annotations

import importlib
from types import ModuleType


def translation_library(name: str, where: str = "workload") -> ModuleType:
    """Import a library of the extra `translation`; ValueError, beginning with `where`, says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ValueError(f"{where}: translation needs {package}; pip install 'bptt[translation]'") from error
