"""What `bptt train` is asked to train: a workload's options and hyperparameters out of `--set name=value`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

import workloads
from orchestrator.cli.assignments import option_names, read_scalar, read_value, split_assignments
from orchestrator.errors import UserError
from orchestrator.spec import FROM_BUDGET
from workloads.hyperparameters import Hyperparameters
from workloads.options import check_value, is_import_path
from workloads.protocol import Dataset, Workload


@dataclass(frozen=True, slots=True)
class Setting:
    """What to train: the workload's options and the hyperparameters, written out."""

    kind: str
    options: Mapping[str, Any]
    hyperparameters: Mapping[str, Any]


def read_setting(kind: str, given: Sequence[str]) -> Setting:
    """Sort `name=value` texts into the workload's options and the hyperparameters, defaults written out.

    Workloads of a user's own may take hyperparameters that only they know, and know few of ours.
    """
    options: dict[str, Any] = {}
    common = option_names(Hyperparameters) if kind in workloads.KINDS else FROM_BUDGET
    hyperparameters = {name: Hyperparameters.__dataclass_fields__[name].default for name in common}
    own = option_names(workload_class(kind))
    try:
        for name, text in split_assignments(given).items():
            block = options if name in own else hyperparameters
            block[name] = read_named(kind, name, text)
        loaded: Any = workloads.load(kind, options)
    except ValueError as error:
        refuse(error)
    return Setting(kind, json.loads(json.dumps(asdict(loaded))), hyperparameters)


def read_named(kind: str, name: str, text: str) -> Any:
    """Return the value of `--set NAME=TEXT`; UserError names all names there are, ValueError what a value must be."""
    cls = workload_class(kind)
    if name in option_names(cls):
        return read_value(cls, name, text)
    if name in option_names(Hyperparameters):
        return check_value(Hyperparameters, name, read_value(Hyperparameters, name, text), "train")
    if kind not in workloads.KINDS:
        return read_scalar(text)
    own, common = ", ".join(option_names(cls)), ", ".join(option_names(Hyperparameters))
    raise UserError(f"--set {name}: unknown; allowed: {own}; {common}")


def workload_class(kind: str) -> type:
    """Return the class of a workload; UserError names those there are."""
    path = workloads.KINDS.get(kind, kind)
    if not is_import_path(path):
        raise UserError(f"WORKLOAD: {kind!r}; allowed: {', '.join(workloads.KINDS)}, or module:Name for your own")
    try:
        cls: type = workloads.import_name(path, "WORKLOAD")
    except ValueError as error:
        raise UserError(str(error)) from error
    return cls


def check(setting: Setting) -> Workload:
    """Return the workload; UserError where it cannot be trained as set. Loads neither data nor torch."""
    try:
        loaded = workloads.load(setting.kind, setting.options)
        loaded.check(setting.hyperparameters)
    except ValueError as error:
        refuse(error)
    return loaded


def prepare(workload: Workload) -> Dataset:
    """Load the data; UserError says what is wrong with them."""
    try:
        return workload.prepare()
    except ValueError as error:
        refuse(error)
    except OSError as error:
        raise UserError(f"the data cannot be read: {error}") from error


def refuse(error: ValueError) -> NoReturn:
    """Say in terms of the command line what a workload said in terms of a sweep file."""
    message = re.sub(r"^(train|workload|budget)\.", "--set ", str(error)).replace("budget.sequence", "sequence")
    raise UserError(message) from error
