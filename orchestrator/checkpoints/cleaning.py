"""Checkpoints that no sweep needs any more: what crashes, failed deletions and sweeps long gone have left behind."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from orchestrator.checkpoints.retention import superseded
from orchestrator.checkpoints.storage import CheckpointStorage, StoredFile
from orchestrator.database.ledger import Ledger, SweepRow
from orchestrator.database.stored import environment_of, read_sweep
from orchestrator.errors import SpecError, SweepNotFound
from orchestrator.settings import Keep
from orchestrator.standing import state_of

OURS = re.compile(r"(?P<sweep>[^/]+)/(?P<trial>trial-\d{5,})/[^/]+")
"""The place of a checkpoint under the checkpoints' folder; nothing that lies elsewhere there is looked at."""
UNKNOWN = "unknown"
"""The state of a sweep that is in the storage and not in the database: it may be in another one."""


@dataclass(slots=True)
class Heap:
    """The checkpoints of one sweep, sorted by what may become of them."""

    sweep: str
    state: str
    superseded: list[StoredFile] = field(default_factory=list)
    """The database points to them, and nothing will ever be read from them again."""
    orphans: list[StoredFile] = field(default_factory=list)
    """No evaluation in the database points to them, and they are too old to be on their way there."""
    kept: list[StoredFile] = field(default_factory=list)
    note: str = ""

    def removable(self, *, unknown: bool) -> list[StoredFile]:
        """Return what may be deleted; of a sweep that the database does not know only if `unknown`."""
        return [*self.superseded, *self.orphans] if unknown or self.state != UNKNOWN else []

    def plain(self, *, unknown: bool) -> dict[str, Any]:
        """Return plain values for scripts."""
        return {
            "sweep": self.sweep,
            "state": self.state,
            "superseded": measured(self.superseded),
            "orphans": measured(self.orphans),
            "kept": measured(self.kept),
            "removable": measured(self.removable(unknown=unknown)),
            "note": self.note,
        }


def measured(files: Sequence[StoredFile]) -> dict[str, int]:
    """Return number and bytes."""
    return {"files": len(files), "bytes": sum(file.size_bytes for file in files)}


@dataclass(frozen=True, slots=True)
class Rules:
    """What may go."""

    keep: Keep | None
    """None for what the driver of each sweep was told to keep."""
    older_than_s: float
    """Younger orphans may be on their way into the database."""


def sort_out(ledger: Ledger, storage: CheckpointStorage, names: Collection[str], rules: Rules) -> list[Heap]:
    """Look through the checkpoints of all sweeps, or of those named; SweepNotFound where there is nothing of a name.

    Files first, then the database: a file that is acknowledged in between is known.
    """
    files = [file for file in storage.files() if OURS.fullmatch(file.name)]
    there = {sweep: list(group) for sweep, group in groupby(files, key=lambda file: file.name.partition("/")[0])}
    rows = {row.name: row for row in ledger.all()}
    for name in names:
        if name not in rows and name not in there:
            raise SweepNotFound(f"no sweep is called {name}; there are {', '.join(sorted({*rows, *there})) or 'none'}")
    return [
        sort_sweep(ledger, rows[name], found, storage=storage, rules=rules)
        if name in rows
        else sort_unknown(name, found, rules)
        for name, found in there.items()
        if not names or name in names
    ]


def sort_unknown(name: str, files: Sequence[StoredFile], rules: Rules) -> Heap:
    """Sort the checkpoints of a sweep that the database does not know."""
    heap = Heap(name, UNKNOWN, note="not in this database; --orphans removes it")
    for file in files:
        (heap.orphans if file.age_s >= rules.older_than_s else heap.kept).append(file)
    return heap


def sort_sweep(
    ledger: Ledger, row: SweepRow, files: Sequence[StoredFile], *, storage: CheckpointStorage, rules: Rules
) -> Heap:
    """Sort the checkpoints of one sweep. Of one that is driven nothing is touched but what was superseded long ago."""
    heap = Heap(row.name, state_of(row))
    try:
        spec, trials = read_sweep(ledger, row.name)
    except SpecError as error:
        heap.kept, heap.note = list(files), f"left alone: {error}"
        return heap
    place = storage.within(row.name)
    known = names_of(place, (progress.checkpoint for trial in trials for progress in trial.evaluations))
    keep = rules.keep or environment_of(ledger, row.name).get("keep", "best")
    needless = names_of(place, superseded(spec, trials, keep))
    for file in files:
        name, is_old = file.name.partition("/")[2], file.age_s >= rules.older_than_s
        if name in needless and (is_old or not row.is_driven):
            heap.superseded.append(file)
        elif name not in known and is_old and not row.is_driven:
            heap.orphans.append(file)
        else:
            heap.kept.append(file)
    return heap


def names_of(place: CheckpointStorage, uris: Any) -> set[str]:
    """Return the names of files that lie in `place`; what was written elsewhere is not looked for."""
    found = set()
    for uri in uris:
        try:
            found.add(place.name_of(uri))
        except ValueError:
            continue
    return found


def remove(storage: CheckpointStorage, files: Sequence[StoredFile]) -> list[StoredFile]:
    """Delete files, and the folders that are empty then; return those that are gone. To be killed here does no harm."""
    gone = [file for file in files if storage.delete(storage.uri_of(file.name))]
    for folder in sorted({file.name.rpartition("/")[0] for file in gone}):
        storage.drop_if_empty(folder)
        storage.drop_if_empty(folder.partition("/")[0])
    return gone
