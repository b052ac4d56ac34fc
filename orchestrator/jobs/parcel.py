"""What travels to a cluster with a sweep: the project, the sweep, the user's own modules, and files of data.

Nothing that travels names a path of the user's machine, or holds a secret.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orchestrator
import workloads
from orchestrator.errors import UserError, masked
from orchestrator.settings import IN_FILE, PREFIX, Settings
from orchestrator.spec import SweepSpec
from workloads.options import is_import_path

SPEC_FILE, SUBMISSION_FILE = "sweep.yaml", "submission.json"
MOST_BYTES = 500 * 2**20
"""Ray's own limit is 512 MiB of compressed files."""
PROJECT = ("orchestrator", "workloads")
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "bptt-runs")
SHARED = ("study_url", "tracking_uri", "artifacts", "checkpoints")
"""Settings that say where something is kept."""
ON_THE_CLUSTER = "put it where the cluster reaches it (its own BPTT_DATA, or a URL), or give a path relative to here"


@dataclass(frozen=True, slots=True)
class Submission:
    """How a sweep is to be driven on a cluster, where its nodes' own variables do not say."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    workers: int | None = None
    allow_local: bool = False
    """Whether databases and folders of one machine will do."""

    def load(self, environ: Mapping[str, str]) -> Settings:
        """Return the settings on the cluster: its nodes' variables, then what travelled.

        UserError where something would be kept on one node only, and that is not allowed.
        """
        travelled = {PREFIX + name.upper(): str(value) for name, value in self.settings.items()}
        travelled = {name: value for name, value in travelled.items() if not environ.get(name + IN_FILE)}
        settings = Settings.load({"ray_address": "auto"}, {**travelled, **{k: v for k, v in environ.items() if v}})
        kept_here = [name for name in ("study_url", "checkpoints", "tracking_uri") if is_of_one_machine(settings, name)]
        if kept_here and not self.allow_local:
            names = ", ".join(PREFIX + name.upper() for name in kept_here)
            raise UserError(
                f"{kept_here[0]}: {masked(getattr(settings, kept_here[0]))} is seen by this node alone; set {names} in "
                "the environment of the cluster's nodes, or submit with --allow-local where the cluster is one machine"
            )
        return settings


def is_of_one_machine(settings: Settings, name: str) -> bool:
    """Tell whether a setting names a file or a folder."""
    value = str(getattr(settings, name))
    return value != "none" and ("://" not in value or value.startswith(("sqlite", "file:")))


def travelling(settings: Settings, *, allow_local: bool) -> dict[str, Any]:
    """Return the settings that make sense on a cluster and hold no secret; paths only where that is one machine."""
    chosen: dict[str, Any] = {
        name: value
        for name in SHARED
        if not holds_secret(value := str(getattr(settings, name)))
        and (allow_local or not (is_of_one_machine(settings, name) or is_loopback(value)))
    }
    if settings.keep != "best":
        chosen["keep"] = settings.keep
    if settings.memory_gb is not None:
        chosen["memory_gb"] = settings.memory_gb
    if allow_local:
        chosen["runs"] = str(settings.runs)
    return chosen


def holds_secret(value: str) -> bool:
    """Tell whether a URL holds what must not be seen by everyone; in doubt, it does."""
    named = re.match(r"(?i)(https?|s3|gs)://[^/?#]*@", value)  # there, a user's name may be a token
    return masked(value) != value or named is not None


def is_loopback(value: str) -> bool:
    """Tell whether a URL leads back to the machine that reads it."""
    return re.search(r"(?i)://(?:[^/@]*@)?(localhost|127\.[\d.]+|\[::1\])(?=[:/]|$)", value) is not None


def pack(spec: SweepSpec, submission: Submission, folder: Path, *, here: Path, with_project: bool = True) -> None:
    """Fill `folder` with all that the sweep needs from `here`; UserError where something cannot travel."""
    # JSON is YAML, and says every number to its last digit.
    (folder / SPEC_FILE).write_text(json.dumps(spec.plain(), indent=1), encoding="utf-8")
    (folder / SUBMISSION_FILE).write_text(json.dumps(asdict(submission), indent=1), encoding="utf-8")
    if with_project:
        for package in (orchestrator, workloads):
            source = Path(str(package.__file__)).parent
            _copy(source, folder / source.name)
    chosen = {path: here / path for path in data_files(spec, here, allow_absolute=submission.allow_local)}
    chosen |= {path: here / path for path in own_modules(spec, here)}
    sizes = {path: _size(source) for path, source in chosen.items()}
    if sum(sizes.values()) + _size(folder) > MOST_BYTES:
        largest = max(sizes, key=sizes.__getitem__)
        raise UserError(
            f"workload: {sum(sizes.values()) / 2**20:,.0f} MiB would have to travel, most of it {largest}, and Ray "
            f"takes up to {MOST_BYTES / 2**20:,.0f}; {ON_THE_CLUSTER.partition(', or give')[0]}"
        )
    for path, source in chosen.items():
        _copy(source, folder / path)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=LEFT_BEHIND, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file() and each.name[0] != ".")


def data_files(spec: SweepSpec, here: Path, *, allow_absolute: bool = False) -> list[str]:
    """Return the files and folders below `here` that the workload's options name.

    UserError where an option names a place that only this machine has.
    """
    found = []
    for name, value in _texts(spec.workload.options, "workload"):
        if value.startswith(("/", "~", "file:")) or re.match(r"[A-Za-z]:[\\/]", value):
            if allow_absolute:
                continue
            raise UserError(f"{name}: {value} is a path of this machine; {ON_THE_CLUSTER}")
        path = os.path.normpath(value)
        if "\0" in path or len(path) > 1000 or not value or not (here / path).exists():
            continue  # a name of the catalogue, a word, or something that is on the cluster
        if path.startswith("..") or path == ".":
            raise UserError(f"{name}: {value} is not a place inside this folder, which is all that travels")
        if spec.workload.kind == "speech" and (here / path).is_file():
            # A manifest names recordings beside it.
            if "/" not in path:
                raise UserError(f"{name}: {value}; put it with its recordings in a folder of its own, to travel whole")
            path = str(Path(path).parent)
        found.append(path)
    return found


def _texts(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item, name)


def own_modules(spec: SweepSpec, here: Path) -> list[str]:
    """Return the user's modules and packages below `here` that the spec names, and those that they import."""
    waiting = [text.partition(":")[0] for _, text in _texts(spec.plain(), "") if is_import_path(text)]
    found: dict[str, str | None] = {}
    while waiting:
        top = waiting.pop().partition(".")[0]
        if top in found or top in PROJECT:
            continue
        found[top] = None
        place, sources = here / f"{top}.py", [here / f"{top}.py"]
        if (here / top).is_dir() and (sources_below := sorted((here / top).rglob("*.py"))):
            place, sources = here / top, sources_below
        if place.exists():
            found[top] = place.name
            waiting += [name for source in sources for name in _imports(source)]
    return [path for path in found.values() if path is not None]


def _imports(source: Path) -> list[str]:
    try:
        tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError):
        return []
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return names + [node.module for node in froms if node.module and not node.level]
