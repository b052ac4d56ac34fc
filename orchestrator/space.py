"""The search space: what a sweep file may say of a parameter, and how Optuna is asked for it."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StrictBool, model_validator

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

Scalar = bool | int | float | str | None
MOST_GRID_VALUES = 10_000
MAX_GRID = 512
"""Corner settings checked one by one; of a larger space, a seeded sample."""


def _whole(value: Any) -> Any:
    # YAML reads 5e6 as a float; a budget is written that way more often than not.
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole), Strict()]
Finite = Annotated[float, Field(allow_inf_nan=False), Strict()]
"""Numbers as a sweep file has them: no text and no truth value is taken for one."""


class Parameter(BaseModel):
    """One swept hyperparameter: exactly one of `choice`, `int` and `float`, and how to walk through it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    choice: tuple[Scalar, ...] | None = Field(None, min_length=1, max_length=1000)
    int_range: tuple[Whole, Whole] | None = Field(None, alias="int")
    float_range: tuple[Finite, Finite] | None = Field(None, alias="float")
    log: StrictBool = False
    step: Finite | None = Field(None, gt=0)
    when: dict[str, tuple[Scalar, ...]] | None = Field(None, min_length=1)
    """The parameter exists only where each parameter named here has one of the values given."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [name for name, value in self._forms().items() if value is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of choice, int and float; given: {', '.join(given) or 'none'}")
        if self.choice is not None:
            if len({(type(value), value) for value in self.choice}) != len(self.choice):
                raise ValueError("choices repeat")
            if self.log or self.step is not None:
                raise ValueError("log and step are for int and float")
            return self
        low, high = self.bounds
        if low > high:
            raise ValueError(f"bounds must rise; given: [{low:g}, {high:g}]")
        if self.log and low <= 0:
            raise ValueError(f"a log scale needs a lower bound above 0; given: {low:g}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        if self.int_range is not None and self.step is not None and self.step != int(self.step):
            raise ValueError(f"the step of an int must be whole; given: {self.step:g}")
        if self.step is not None and self.step > high - low:
            raise ValueError(f"step {self.step:g} exceeds the range [{low:g}, {high:g}]")
        return self

    def _forms(self) -> dict[str, Any]:
        return {"choice": self.choice, "int": self.int_range, "float": self.float_range}

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the lower and the upper bound of a range."""
        bounds = self.int_range or self.float_range
        if bounds is None:
            raise TypeError("a choice has no bounds")
        return bounds

    def distribution(self) -> BaseDistribution:
        """Return Optuna's distribution."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choice is not None:
            return CategoricalDistribution(self.choice)
        if self.int_range is not None:
            return IntDistribution(*self.int_range, log=self.log, step=int(self.step or 1))
        low, high = self.bounds
        return FloatDistribution(low, high, log=self.log, step=self.step)

    def suggest(self, trial: Trial, name: str) -> Any:
        """Ask `trial` for a value under `name`."""
        if self.choice is not None:
            return trial.suggest_categorical(name, self.choice)
        if self.int_range is not None:
            return trial.suggest_int(name, *self.int_range, step=int(self.step or 1), log=self.log)
        low, high = self.bounds
        return trial.suggest_float(name, low, high, step=self.step, log=self.log)

    def draw(self, draw: random.Random) -> Any:
        """Draw a value, evenly on the parameter's scale."""
        if self.choice is not None:
            return draw.choice(self.choice)
        low, high = self.bounds
        value = math.exp(draw.uniform(math.log(low), math.log(high))) if self.log else draw.uniform(low, high)
        if self.step is not None or self.int_range is not None:
            step = self.step or 1
            value = low + round((value - low) / step) * step
        value = min(max(value, low), high)
        return int(value) if self.int_range is not None else value

    def ends(self) -> list[Any]:
        """Return every choice, or both ends of a range."""
        return list(self.choice) if self.choice is not None else sorted(set(self.bounds))

    def grid(self) -> list[Any] | None:
        """Return every value, or None where there is no counting them."""
        if self.choice is not None:
            return list(self.choice)
        low, high = self.bounds
        step = self.step or (1 if self.int_range is not None and not self.log else None)
        if step is None:
            return None
        count = int((high - low) / step + 1e-9) + 1
        if count > MOST_GRID_VALUES:
            raise ValueError(f"a grid of {count} values; use a larger step, or another sampler")
        values = [low + index * step for index in range(count)]
        return [int(value) for value in values] if self.int_range is not None else values

    def describe(self) -> str:
        """Return the range in words."""
        if self.choice is not None:
            text = "one of " + ", ".join(str(value) for value in self.choice)
        else:
            kind = "integer" if self.int_range is not None else "number"
            text = f"{kind} from {self.bounds[0]:g} to {self.bounds[1]:g}"
            text += ", log scale" if self.log else ""
            text += f", step {self.step:g}" if self.step else ""
        for name, values in (self.when or {}).items():
            text += f", when {name} is {' or '.join(map(str, values))}"
        return text


def read_parameter(given: Any) -> Any:
    """Let a bare list stand for choices."""
    return {"choice": given} if isinstance(given, list) else given


Space = dict[str, Annotated[Parameter, BeforeValidator(read_parameter)]]


def in_order(space: Mapping[str, Parameter]) -> list[str]:
    """Return the names, those that others depend on first; ValueError where conditions are unknown or go in circles."""
    order: list[str] = []
    waiting = dict(space)
    for name, parameter in space.items():
        for parent, values in (parameter.when or {}).items():
            if parent not in space or space[parent].choice is None:
                raise ValueError(f"{name}.when.{parent}: not a parameter with choices in this space")
            for value in values:
                if value not in (space[parent].choice or ()):
                    raise ValueError(f"{name}.when.{parent}: {value!r} is not among its choices")
    while waiting:
        ready = [name for name, parameter in waiting.items() if set(parameter.when or {}) <= set(order)]
        if not ready:
            raise ValueError(f"{next(iter(waiting))}.when: conditions go in a circle")
        order += ready
        for name in ready:
            del waiting[name]
    return order


def suggest(trial: Trial, space: Mapping[str, Parameter]) -> dict[str, Any]:
    """Ask `trial` for every parameter that its conditions let exist."""
    chosen: dict[str, Any] = {}
    for name in in_order(space):
        if is_active(space[name], chosen):
            chosen[name] = space[name].suggest(trial, name)
    return chosen


def is_active(parameter: Parameter, chosen: Mapping[str, Any]) -> bool:
    """Tell whether a parameter exists beside the values chosen so far."""
    return all(name in chosen and chosen[name] in values for name, values in (parameter.when or {}).items())


def drawn(space: Mapping[str, Parameter], draw: random.Random) -> dict[str, Any]:
    """Draw a setting from the space, evenly on each parameter's scale."""
    chosen: dict[str, Any] = {}
    for name in in_order(space):
        if is_active(space[name], chosen):
            chosen[name] = space[name].draw(draw)
    return chosen


def corners(space: Mapping[str, Parameter]) -> Iterator[dict[str, Any]]:
    """Walk through the extreme settings: all combinations of ends, or a seeded sample of a large space."""
    names = in_order(space)
    ends = [space[name].ends() for name in names]
    if math.prod(len(values) for values in ends) <= MAX_GRID:
        combinations: Iterator[tuple[Any, ...]] = itertools.product(*ends)
    else:
        draw = random.Random(0)
        combinations = (tuple(draw.choice(values) for values in ends) for _ in range(MAX_GRID))
    for combination in combinations:
        chosen: dict[str, Any] = {}
        for name, value in zip(names, combination, strict=True):
            if is_active(space[name], chosen):
                chosen[name] = value
        yield chosen
