"""The spec of a sweep: what a sweep file may say, checked strictly, every error in one line that names the field."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

import workloads
from orchestrator.errors import SpecError
from orchestrator.space import Parameter, Scalar, Space, Whole, corners, in_order
from workloads.protocol import Workload

Sampler = Literal["tpe", "random", "qmc", "gp", "cost_aware", "grid", "cmaes"]
Pruner = Literal[
    "none",
    "median",
    "percentile",
    "successive_halving",
    "promotion",
    "delayed_promotion",
    "curves",
    "hyperband",
    "patient",
]
SAMPLERS, PRUNERS = get_args(Sampler), get_args(Pruner)
ONE_OBJECTIVE_SAMPLERS = ("cost_aware", "cmaes")
"""Samplers that cannot search with two objectives."""
AUTO = "auto"
FROM_BUDGET = ("sequence_steps", "evaluations")
RAYS_OWN = ("cpu", "gpu", "memory", "object_store_memory")
BUILT_IN = ("cpus", "gpus", "memory_gb")
LEAST_CUSTOM, MOST_CUSTOM = 1e-4, 1e9
"""Of a custom resource; Ray counts in ten-thousandths."""
WORD = r"^[A-Za-z][A-Za-z0-9_-]{0,62}$"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"


class Block(BaseModel):
    """Base of every block: nothing unknown, nothing converted, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Objective(Block):
    """What is made best: a metric, and with `cost` a second objective beside it, which is always minimised."""

    metric: str | None = None
    direction: Literal["minimize", "maximize"] | None = None
    cost: Literal["seconds", "memory"] | None = None
    """Seconds of training, or peak memory in MB."""


class Budget(Block):
    """What a sweep may use up."""

    trials: Whole = Field(20, ge=1, le=1_000_000)
    sequence_steps: Whole = Field(1_000_000, ge=1, le=10**15)
    evaluations: Whole = Field(10, ge=1, le=100_000)
    hours: float | None = Field(None, gt=0)


class Search(Block):
    """How the space is searched."""

    sampler: Sampler = "tpe"
    pruner: Pruner = "median"
    seed: Whole = Field(0, ge=0, lt=2**31)
    earlier: list[str] = Field(default_factory=list, alias="from", max_length=100)
    """Sweeps on the same data whose best settings are tried first."""


class Resources(Block):
    """What one trial takes, and how many are trained at once."""

    cpus: float = Field(1.0, gt=0, le=4096)
    gpus: float = Field(0.0, ge=0, le=64)
    memory_gb: float | None = Field(None, ge=0.1, le=100_000)
    """Of the machine (10^9 bytes), not of a GPU; a trial whose process takes more ends as out of memory."""
    custom: dict[str, float] = Field(default_factory=dict)
    """What else nodes of a Ray cluster were given by name, and how much of it a trial takes."""
    accelerator: str | None = Field(None, pattern=WORD)
    """Only nodes with this kind of accelerator, as Ray names it: `A100`."""
    placement: Literal["pack", "spread"] = "pack"
    """Fill up one node after another, or use all evenly."""
    workers: Whole | None = Field(None, ge=1, le=100_000)
    """Trials at once, at most. On a cluster so many are asked for even where they do not fit yet."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        amounts = {"cpus": self.cpus, "gpus": self.gpus, **{f"custom.{name}": of for name, of in self.custom.items()}}
        for name, value in amounts.items():
            if value > 1 and not float(value).is_integer():
                raise ValueError(f"{name}: {value:g}; fractions are for parts of one, above 1 it must be whole")
        for name, value in self.custom.items():
            if not re.fullmatch(WORD, name):
                raise ValueError(f"custom: {name!r}; a name is a plain word: letters, digits, - and _")
            if name.lower() in RAYS_OWN:
                raise ValueError(f"custom: {name!r}; that is Ray's own: use {', '.join(BUILT_IN)} or accelerator")
            if not LEAST_CUSTOM <= value <= MOST_CUSTOM:
                raise ValueError(f"custom.{name}: {value:g}; allowed: from {LEAST_CUSTOM:g} to {MOST_CUSTOM:g}")
        return self

    @property
    def is_auto(self) -> bool:
        """Tell whether the resources are still to be chosen, by what trials are predicted to take."""
        return False


class AutoResources(Resources):
    """`resources: auto`."""

    @property
    def is_auto(self) -> bool:
        """Tell that they are."""
        return True


def read_resources(given: Any) -> Any:
    """Let the word `auto` stand for resources chosen by prediction."""
    if isinstance(given, str):
        if given != AUTO:
            raise ValueError(f"allowed: {AUTO}, or a mapping of {', '.join(Resources.model_fields)}")
        return AutoResources()
    return given


class WorkloadSpec(BaseModel):
    """The workload's kind; everything else in the block is the workload's own to check."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str

    @property
    def options(self) -> dict[str, Any]:
        """Return the block without the kind."""
        return dict(self.model_extra or {})


class SweepSpec(BaseModel):
    """One sweep, as its file says it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME)
    workload: WorkloadSpec
    space: Space = Field(min_length=1)
    train: dict[str, Scalar] = Field(default_factory=dict)
    objective: Objective = Objective()
    budget: Budget = Budget()
    search: Search = Search()
    resources: Annotated[Resources, BeforeValidator(read_resources)] = Resources()

    def load_workload(self) -> Workload:
        """Return the workload; SpecError where its options are wrong."""
        try:
            return workloads.load(self.workload.kind, self.workload.options)
        except ValueError as error:
            raise SpecError(str(error)) from error

    def params(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Return all hyperparameters of the trial whose swept ones are `chosen`."""
        budget = {"sequence_steps": self.budget.sequence_steps, "evaluations": self.budget.evaluations}
        return {**self.train, **chosen, **budget}

    def plain(self) -> dict[str, Any]:
        """Return the spec as plain values, defaults written out, to be stored and compared."""
        dumped: dict[str, Any] = self.model_dump(mode="json", by_alias=True)
        dumped["space"] = {
            name: {key: value for key, value in parameter.items() if value not in (None, False)}
            for name, parameter in dumped["space"].items()
        }
        if self.resources.is_auto:
            dumped["resources"] = AUTO
        return dumped

    def fixed_direction(self, workload: Workload) -> SweepSpec:
        """Return the spec with metric and direction written out; SpecError where the workload has no such metric."""
        known = dict(workload.objectives)
        metric = next(iter(known)) if self.objective.metric is None else self.objective.metric
        if metric not in known:
            raise SpecError(f"objective.metric: {metric!r}; {self.workload.kind} has {', '.join(known)}")
        direction = self.objective.direction or known[metric]
        if direction != known[metric]:
            raise SpecError(f"objective.direction: {direction}; {metric} is made best by {known[metric]}")
        objective = Objective(metric=metric, direction=direction, cost=self.objective.cost)  # type: ignore[arg-type]
        return self.model_copy(update={"objective": objective})


def stored_spec(given: Mapping[Any, Any]) -> SweepSpec:
    """Read a sweep that was checked before, for those who look: the workload may be a user's own and not here."""
    try:
        return SweepSpec.model_validate(given)
    except ValidationError as error:
        raise SpecError(_explain(error)) from error


def spec_from(given: Mapping[Any, Any]) -> SweepSpec:
    """Check a sweep given as plain values; see `sweep_file.read_spec`."""
    spec = stored_spec(given)
    _check_space(spec)
    workload = spec.load_workload()
    for chosen in corners(spec.space):
        try:
            workload.check(spec.params(chosen))
        except ValueError as error:
            raise SpecError(_in_space(str(error), chosen)) from error
    return spec.fixed_direction(workload)


def _check_space(spec: SweepSpec) -> None:
    for name in FROM_BUDGET:
        for block in ("space", "train"):
            if name in getattr(spec, block):
                raise SpecError(f"{block}.{name}: all trials share one budget; write it under budget:")
    both = sorted(set(spec.space) & set(spec.train))
    if both:
        raise SpecError(f"train.{both[0]}: also in space:; write it in one of them")
    try:
        in_order(spec.space)
    except ValueError as error:
        raise SpecError(f"space.{error}") from error
    if spec.name in spec.search.earlier:
        raise SpecError(f"search.from: {spec.name}; a sweep cannot begin with what it found itself")
    if spec.search.earlier and spec.search.sampler == "grid":
        raise SpecError("search.from: the grid sampler tries every setting; use another sampler")
    if spec.objective.cost is not None and spec.search.sampler in ONE_OBJECTIVE_SAMPLERS:
        able = ", ".join(name for name in SAMPLERS if name not in ONE_OBJECTIVE_SAMPLERS)
        raise SpecError(f"search.sampler: {spec.search.sampler} knows no second objective (objective.cost); use {able}")
    if spec.search.sampler == "grid":
        for name, parameter in spec.space.items():
            try:
                if parameter.grid() is None:
                    raise SpecError(f"space.{name}: the grid sampler needs choices or a step")
            except ValueError as error:
                raise SpecError(f"space.{name}: {error}") from error
            if parameter.when:
                raise SpecError(f"space.{name}.when: the grid sampler knows no conditions; use another sampler")


def _in_space(message: str, chosen: Mapping[str, Any]) -> str:
    field, colon, rest = message.partition(":")
    block, _, name = field.partition(".")
    return f"space.{name}{colon}{rest}" if block == "train" and name in chosen else message


def one_line(error: object) -> str:
    """Return what an error says, cut, on one line."""
    return " ".join(str(error).split())[:300]


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    forms = {"choice", "int", "float"}
    path = [str(part) for part in first["loc"] if not str(part).startswith(("function-", "tuple", "union"))]
    # The last part of a path into a union of plain values names the type tried, which no file shows.
    while len(path) > 1 and path[-1] in ("bool", "int", "float", "str", "none") and path[-2] not in ("space", *forms):
        if len(path) == 3 and path[0] == "space":
            break
        path.pop()
    field = ".".join(path) or "sweep file"
    message = one_line(first["msg"].removeprefix("Value error, "))
    if first["type"] == "missing":
        return f"{field}: missing"
    if first["type"] == "extra_forbidden":
        return f"{field}: unknown; {_allowed(path)}"
    given = first["input"]
    shown = "" if isinstance(given, (dict, BaseModel)) else f"{one_line(repr(given))}; "
    return f"{field}: {shown}{message[:1].lower()}{message[1:]}"


def _allowed(path: list[str]) -> str:
    models: dict[str, type[BaseModel]] = {
        "objective": Objective,
        "budget": Budget,
        "search": Search,
        "resources": Resources,
        "space": Parameter,
    }
    model = models.get(path[0], SweepSpec) if len(path) > 1 else SweepSpec
    names = [field.alias or name for name, field in model.model_fields.items()]
    return f"allowed: {', '.join(names)}"


def is_of_resources(field: str) -> bool:
    """Tell whether a field of a plain spec says what trials take: a sweep may go on elsewhere."""
    return field == "resources" or field.startswith("resources.")


def difference(old: SweepSpec, new: SweepSpec) -> list[str]:
    """Return what changed from `old` to `new`, a line each as `field: old -> new`."""
    before, after = _flat(old.plain()), _flat(new.plain())
    return [
        f"{key}: {before.get(key, 'absent')} -> {after.get(key, 'absent')}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]


def _flat(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, Mapping):
        found: dict[str, str] = {}
        for key, item in value.items():
            found |= _flat(item, f"{path}.{key}" if path else str(key))
        return found
    return {path: json.dumps(value)}


def grid_size(spec: SweepSpec) -> int:
    """Return the number of settings in a grid search."""
    return math.prod(len(parameter.grid() or ()) for parameter in spec.space.values())


def trials_allowed(spec: SweepSpec) -> int:
    """Return how many trials the sweep may have: its budget, or fewer where a grid holds no more."""
    return min(spec.budget.trials, grid_size(spec)) if spec.search.sampler == "grid" else spec.budget.trials
