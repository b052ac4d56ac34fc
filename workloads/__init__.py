"""Sequence tasks trained by truncated backpropagation through time. Knows torch and numpy, and nothing of sweeps."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, cast

from workloads.options import is_import_path, read_options
from workloads.protocol import Workload

KINDS = {
    "language_model": "workloads.language_model:LanguageModel",
    "forecast": "workloads.forecast:Forecast",
    "speech": "workloads.speech:Speech",
    "translation": "workloads.translation:Translation",
    "memory": "workloads.memory:Memory",
}
"""Workloads by name. Imported when asked for; none of them loads torch before it trains."""


def load(kind: str, options: Mapping[str, Any]) -> Workload:
    """Return the workload `kind` (a name in KINDS, or `module:Name` for a dataclass of your own).

    Raises ValueError in one line naming the field where the kind or an option is wrong.
    """
    path = KINDS.get(kind, kind)
    if not is_import_path(path):
        raise ValueError(f"workload.kind: {kind!r}; allowed: {', '.join(KINDS)}, or module:Name for your own")
    return cast("Workload", read_options(import_name(path, "workload.kind"), options, "workload"))


def import_name(path: str, where: str) -> Any:
    """Import `module:Name`; ValueError, beginning with `where`, if there is no such thing."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # a user's module may fail in any way
        raise ValueError(f"{where}: {path} cannot be imported: {type(error).__name__}: {error}") from error
