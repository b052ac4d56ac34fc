"""What may be changed in a sweep that has trials already: only what leaves all of them comparable."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import UserError
from orchestrator.space import Parameter, corners, is_active
from orchestrator.spec import SweepSpec, grid_size, spec_from
from orchestrator.wording import value_of


def larger(spec: SweepSpec, *, trials: int, hours: float | None) -> SweepSpec:
    """Return the sweep with a larger budget; UserError where that would change nothing or cannot be."""
    plain: dict[str, Any] = spec.plain()
    if trials and spec.search.sampler == "grid" and spec.budget.trials >= grid_size(spec):
        raise UserError(f"--trials: the grid of {spec.name} has {grid_size(spec)} settings, and its budget all of them")
    plain["budget"]["trials"] += trials
    if hours is not None:
        if not 0 < hours < math.inf:
            raise UserError(f"--hours: {hours:g}; it must be above 0")
        if spec.budget.hours is None:
            raise UserError(f"--hours: {spec.name} has no limit of hours that could be raised")
        plain["budget"]["hours"] += hours
    return spec_from(plain)


def narrower(spec: SweepSpec, given: Mapping[str, Mapping[str, Any]]) -> SweepSpec:
    """Return the sweep with a narrower space: each name with its `range` of two, or with the `choice` that is left.

    Raises UserError where a range is not inside the present one. A parameter whose condition can no longer be met
    is left out.
    """
    if spec.search.sampler == "grid":
        raise UserError(
            f"the grid of {spec.name} cannot be narrowed, since its settings are counted; stop the sweep, "
            "and give a smaller grid another name"
        )
    plain = spec.plain()
    space: dict[str, dict[str, Any]] = plain["space"]
    for name, wanted in given.items():
        parameter = spec.space.get(name)
        if parameter is None:
            raise UserError(f"{name}: not in the space of {spec.name}; it has {', '.join(spec.space)}")
        space[name] |= _narrowed(name, parameter, wanted)
    for name in [name for name, parameter in space.items() if not _can_be(parameter, space)]:
        del space[name]
    narrowed = spec_from(plain)
    if narrowed.space == spec.space:
        raise UserError(f"{', '.join(given)}: that is the space of {spec.name} already")
    return narrowed


def _can_be(parameter: dict[str, Any], space: Mapping[str, Mapping[str, Any]]) -> bool:
    """Keep of a parameter's conditions what can still be met; tell whether all of them can."""
    for parent, values in parameter.get("when", {}).items():
        parameter["when"][parent] = [value for value in values if value in space[parent]["choice"]]
    return all(parameter.get("when", {}).values())


def _narrowed(name: str, parameter: Parameter, wanted: Mapping[str, Any]) -> dict[str, Any]:
    if parameter.choice is not None:
        if "choice" not in wanted:
            raise UserError(f"{name}: it has choices; say which are left, as in {name}={value_of(parameter.choice[0])}")
        left = [_chosen(name, parameter.choice, value) for value in wanted["choice"]]
        return {"choice": [value for value in parameter.choice if value in left]}
    low, high = wanted["range"] if "range" in wanted else (wanted["choice"] * 2)[:2]
    bounds, form = parameter.bounds, "int" if parameter.int_range is not None else "float"
    if "choice" in wanted and len(wanted["choice"]) != 1:
        raise UserError(f"{name}: it is a range; write {name}={bounds[0]:g}..{bounds[1]:g}")
    for value in (low, high):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not bounds[0] <= value <= bounds[1]:
            raise UserError(
                f"{name}: {value_of(value)}; it must be from {bounds[0]:g} to {bounds[1]:g}, for a wider space "
                "would hold trials that no sampler had the choice of: give that a new sweep"
            )
    if parameter.step and abs((low - bounds[0]) / parameter.step - round((low - bounds[0]) / parameter.step)) > 1e-9:
        raise UserError(f"{name}: {low:g}; it must lie a number of steps of {parameter.step:g} above {bounds[0]:g}")
    return {form: [low, high] if form == "int" else [float(low), float(high)]}


def check_wanted(spec: SweepSpec, setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return a setting, whole or in part, as the space has its values; UserError where it is none of this sweep."""
    if spec.search.sampler == "grid":
        raise UserError(f"{spec.name} tries every setting of its grid; there is none to add")
    chosen: dict[str, Any] = {}
    for name, value in setting.items():
        if name not in spec.space:
            fixed = {**spec.train, **spec.budget.model_dump()}.get(name)
            kept = f"fixed at {value_of(fixed)} for all trials" if fixed is not None else "not in the space"
            raise UserError(f"--set {name}: {kept}; {spec.name} sweeps {', '.join(spec.space)}")
        chosen[name] = _value(name, spec.space[name], value)
    for name in chosen:
        for parent, values in (spec.space[name].when or {}).items():
            if not is_active(spec.space[name], chosen):
                raise UserError(f"--set {name}: it exists when {parent} is {_shown(values, ' or ')}; set that too")
    left = {
        name: parameter.model_copy(
            update={"choice": (chosen[name],), "int_range": None, "float_range": None, "log": False, "step": None}
        )
        if name in chosen
        else parameter
        for name, parameter in spec.space.items()
    }
    workload = spec.load_workload()
    for corner in corners(left):
        try:
            workload.check(spec.params(corner))
        except ValueError as error:
            raise UserError(str(error)) from error
    return chosen


def _value(name: str, parameter: Parameter, value: Any) -> Any:
    if parameter.choice is not None:
        return _chosen(name, parameter.choice, value)
    low, high = parameter.bounds
    is_whole = parameter.int_range is not None
    step = parameter.step or (1.0 if is_whole else None)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    if not is_number or (step and abs((value - low) / step - round((value - low) / step)) > 1e-9):
        raise UserError(
            f"--set {name}={value_of(value)}: it must be {'an' if is_whole else 'a'} {parameter.describe()}"
        )
    return int(value) if is_whole else float(value)


def _chosen(name: str, choices: Sequence[Any], value: Any) -> Any:
    for choice in choices:
        if choice == value and isinstance(choice, bool) == isinstance(value, bool):
            return choice
    raise UserError(f"{name}: {value_of(value)}; it must be one of {_shown(choices)}")


def _shown(values: Sequence[Any], between: str = ", ") -> str:
    return between.join(map(value_of, values))
