"""When a command calls chosen functions, in whatever process: written to a file, one line a call.

A `sitecustomize` in a folder on PYTHONPATH wraps the functions as their modules are imported, so the command that is
measured is the one that users type, and Ray's workers are looked at like the driver. Nothing else is changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOOK = """
import functools, importlib.abc, importlib.machinery, json, os, sys, time

WANTED, LOG, FIRST = {wanted!r}, {log!r}, {first!r}

def write(label, began, ended):
    line = json.dumps([label, os.getpid(), began, ended]) + "\\n"
    file = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)

def wrap(owner, name, label):
    function = getattr(owner, name)

    @functools.wraps(function)
    def timed(*arguments, **named):
        began = time.time()
        try:
            return function(*arguments, **named)
        finally:
            write(label, began, time.time())
            if label in FIRST:
                setattr(owner, name, function)

    setattr(owner, name, timed)

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in WANTED:
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path, target)
        execute = found.loader.exec_module

        def exec_module(module):
            execute(module)
            for dotted, label in WANTED[name].items():
                *owners, last = dotted.split(".")
                wrap(functools.reduce(getattr, owners, module), last, label)

        found.loader.exec_module = exec_module
        return found

sys.meta_path.insert(0, Finder())
"""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a function."""

    label: str
    process: int
    began: float
    """Seconds since the epoch, as `ended`."""
    ended: float


def hook(folder: Path, wanted: Mapping[str, str], *, first: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the environment in which a command notes its calls of the functions `module:dotted.name`, by label.

    Of those in `first` only one call is noted in each process; after it they are as they were.
    """
    modules: dict[str, dict[str, str]] = {}
    for path, label in wanted.items():
        module, _, name = path.partition(":")
        modules.setdefault(module, {})[name] = label
    hooks = folder / "hook"
    hooks.mkdir(parents=True)
    code = HOOK.format(wanted=modules, log=str(folder / "calls"), first=first)
    (hooks / "sitecustomize.py").write_text(code)
    path = os.pathsep.join([str(hooks), str(Path.cwd()), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def calls(folder: Path) -> list[Call]:
    """Return the calls noted, in the order in which they ended."""
    log = folder / "calls"
    return [Call(*json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []
