"""Options as frozen dataclasses that know their own bounds, so that every message and template has one source.

Pure Python: a sweep file is checked without loading torch.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    choices: tuple[Any, ...] | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Any:
    """Declare a dataclass field with its bounds and one line of help. Without a default it is required."""
    metadata = {
        "help": help,
        "choices": choices,
        "at_least": at_least,
        "above": above,
        "at_most": at_most,
        "below": below,
    }
    return dataclasses.field(default=default, metadata=metadata)


def read_options(cls: type[T], given: Mapping[str, Any], where: str) -> T:
    """Build `cls` from plain values.

    Raises ValueError in one line that names the field (as `where.field`), the value and what is allowed.
    """
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise ValueError(f"{where}.kind: {getattr(cls, '__name__', cls)} is no dataclass; see `workloads.protocol`")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in given:
        if name not in fields:
            raise ValueError(f"{where}.{name}: unknown; allowed: {', '.join(sorted(fields))}")
    for name, field in fields.items():
        if name not in given and field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}.{name}: missing; it is {field.metadata.get('help', 'required')}")
    return cls(**{name: check_value(cls, name, value, where) for name, value in given.items()})


def check_value(cls: type, name: str, value: Any, where: str) -> Any:
    """Return `value` for the field `name` of `cls` (integers widen to floats); ValueError where it does not fit."""
    kinds = allowed_types(cls, name)
    bounds = next(field.metadata for field in dataclasses.fields(cls) if field.name == name)
    if value is None:
        if type(None) in kinds:
            return None
        raise ValueError(f"{where}.{name}: null; it must be {_expected(kinds, bounds)}")
    if isinstance(value, int) and not isinstance(value, bool) and float in kinds and int not in kinds:
        value = _as_float(value)
    if isinstance(value, list) and tuple in kinds:
        value = tuple(value)
    if type(value) not in kinds or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{where}.{name}: {value!r}; it must be {_expected(kinds, bounds)}")
    if isinstance(value, tuple):
        item_type = tuple_item_type(cls, name)
        if item_type is float:
            value = tuple(float(item) if type(item) is int else item for item in value)
        if not all(type(item) is item_type for item in value):
            kind = {float: "numbers", int: "integers"}.get(item_type, "texts")
            raise ValueError(f"{where}.{name}: {list(value)!r}; it must be a list of {kind}")
    if not _within(value, bounds):
        raise ValueError(f"{where}.{name}: {value!r}; it must be {_expected(kinds, bounds)}")
    return value


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


@functools.cache
def allowed_types(cls: type, name: str) -> frozenset[type]:
    """Return the plain types that the field `name` of `cls` takes."""
    hint = typing.get_type_hints(cls)[name]
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return frozenset(typing.get_origin(part) or part for part in parts)


def tuple_item_type(cls: type, name: str) -> type:
    """Return what a list given for the field `name` of `cls` is made of."""
    hint = typing.get_type_hints(cls)[name]
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    item: type = next(typing.get_args(part)[0] for part in parts if typing.get_origin(part) is tuple)
    return item


def describe_allowed(cls: type, name: str) -> str:
    """Return in words what the field `name` of `cls` takes."""
    bounds = next(field.metadata for field in dataclasses.fields(cls) if field.name == name)
    return _expected(allowed_types(cls, name), bounds)


def _within(value: Any, bounds: Mapping[str, Any]) -> bool:
    choices = bounds.get("choices")
    if choices is not None:
        # A user's own class by `module:Name` stands in wherever a choice is a name of ours with that form allowed.
        return value in choices or ("module:Name" in choices and isinstance(value, str) and is_import_path(value))
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return True
    return not (
        (bounds.get("at_least") is not None and value < bounds["at_least"])
        or (bounds.get("above") is not None and value <= bounds["above"])
        or (bounds.get("at_most") is not None and value > bounds["at_most"])
        or (bounds.get("below") is not None and value >= bounds["below"])
    )


def is_import_path(text: str) -> bool:
    """Tell whether `text` reads `package.module:Name`."""
    module, colon, name = text.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def _expected(kinds: frozenset[type], bounds: Mapping[str, Any]) -> str:
    if bounds.get("choices"):
        return "one of " + ", ".join(str(choice) for choice in bounds["choices"])
    names = {int: "an integer", float: "a number", str: "a text", bool: "true or false", tuple: "a list"}
    expected = " or ".join(words for kind, words in names.items() if kind in kinds)
    words = {"at_least": "at least", "above": "above", "at_most": "at most", "below": "below"}
    limits = [f"{word} {bounds[key]:,}" for key, word in words.items() if bounds.get(key) is not None]
    return " ".join([expected, " and ".join(limits)]).strip() + (", or null" if type(None) in kinds else "")
