"""Libraries that only some workloads need: imported late, and named with the way to install them where missing."""

from __future__ import annotations

import importlib
from types import ModuleType


def import_extra(name: str, extra: str, where: str = "workload") -> ModuleType:
    """Import a library of an extra of this package; ValueError, beginning with `where`, says how to get it."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # soundfile raises OSError where the C library is missing
        package = name.partition(".")[0]
        raise ValueError(f"{where}: {extra} needs {package}; pip install 'bptt[{extra}]'") from error
