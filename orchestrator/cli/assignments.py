"""Values given on the command line as `--set name=value`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import yaml

from orchestrator.errors import UserError
from orchestrator.sweep_file import StrictLoader
from workloads.options import allowed_types, tuple_item_type


def split_assignments(given: Sequence[str], option: str = "--set ") -> dict[str, str]:
    """Return the texts by name; UserError where one has no name, or a name comes twice."""
    texts: dict[str, str] = {}
    for assignment in given:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UserError(f"{option}{assignment}: name=value is needed, as in {option}hidden_size=256")
        if name in texts:
            raise UserError(f"{option}{name}: given twice")
        texts[name] = text
    return texts


def read_scalar(text: str) -> Any:
    """Return a value as a sweep file would read it (1e-3 is a number); what is no YAML is a text."""
    try:
        return yaml.load(text, StrictLoader)
    except (yaml.YAMLError, ValueError):
        return text


def read_value(cls: type, name: str, text: str) -> Any:
    """Return `text` as the option `name` of `cls` would have it, as far as it can be; its bounds are not checked."""
    kinds = allowed_types(cls, name)
    value = read_scalar(text)
    if isinstance(value, float) and value.is_integer() and int in kinds and float not in kinds:
        return int(value)  # people write 5e6 for a budget
    if tuple in kinds and value is not None and not isinstance(value, list) and (str not in kinds or "," in text):
        parts = [part.strip() for part in text.split(",")]
        return [read_scalar(part) for part in parts] if tuple_item_type(cls, name) is float else parts
    if str in kinds and type(value) not in kinds:
        return text
    return value


def option_names(cls: type) -> list[str]:
    """Return the names of the options of `cls`."""
    return [field.name for field in dataclasses.fields(cls)]
