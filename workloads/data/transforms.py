"""From values to what a network reads and forecasts: differences, log returns, volatilities, lags."""

from __future__ import annotations

from typing import Protocol

import numpy as np

TRANSFORMS = ("none", "difference", "log_return", "log_volatility")


class How(Protocol):
    """The part of `workloads.data.preparation.Reading` that matters here."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Columns to forecast."""

    @property
    def covariates(self) -> tuple[str, ...]:
        """Columns that are read, too."""

    @property
    def lags(self) -> tuple[int, ...]:
        """Rows back whose levels are read beside each row's own."""

    @property
    def transform(self) -> str:
        """One of TRANSFORMS."""

    @property
    def volatility_window(self) -> int:
        """Log returns that make one volatility."""


def lost_rows(how: How) -> int:
    """Return how many rows at the beginning a transform uses up."""
    return {"none": 0, "difference": 0, "log_return": 1, "log_volatility": how.volatility_window}[how.transform]


def stationary(values: np.ndarray, how: How, *, field: str) -> tuple[np.ndarray, list[str]]:
    """Return what a network reads, (rows - lost, names), and the names; `values` are targets, then covariates.

    `none`: the values. `difference`: how much they changed since the row before, which does not depend on a level that
    drifts; NaN in the first. `log_return`: the same of their logarithms. `log_volatility`: the logarithm of each
    target's volatility, and its log return; covariates as they are. ValueError, beginning with `field`, where a value
    has no logarithm.
    """
    names, count, lost = [*how.targets, *how.covariates], len(how.targets), lost_rows(how)
    if how.transform == "none":
        return values, names
    if how.transform == "difference":
        return np.diff(values, axis=0, prepend=np.nan), names
    if how.transform == "log_return":
        return np.diff(logarithms(values, names, how, field), axis=0), names
    returns = np.diff(logarithms(values[:, :count], how.targets, how, field), axis=0)[lost - 1 :]
    read = [levels_of(values[:, :count], how, field=field), returns, values[lost:, count:]]
    return np.concatenate(read, axis=1), [
        *(f"volatility of {name}" for name in how.targets),
        *(f"return of {name}" for name in how.targets),
        *how.covariates,
    ]


def levels_of(targets: np.ndarray, how: How, *, field: str) -> np.ndarray:
    """Return what is forecast, (rows - lost, targets): the targets, their logarithms, or those of their volatility.

    The volatility is the root of the mean squared log return over the last `volatility_window` rows, its own included
    (realised volatility; Andersen, Bollerslev, Diebold and Labys, 2003).
    """
    lost = lost_rows(how)
    if how.transform in ("none", "difference"):
        return targets
    logarithm = logarithms(targets, how.targets, how, field)
    if how.transform == "log_return":
        return logarithm[lost:]
    squares = np.square(np.diff(logarithm, axis=0))
    if len(squares) < how.volatility_window:
        return np.empty((0, targets.shape[1]))
    variance = np.lib.stride_tricks.sliding_window_view(squares, how.volatility_window, axis=0).mean(axis=-1)
    still = np.argwhere(variance == 0)
    if len(still):
        row, column = still[0]
        raise ValueError(
            f"{field}: log_volatility needs a price that moves; {how.targets[column]} stands still over the "
            f"{how.volatility_window} rows up to row {row + lost + 1}; choose a longer volatility_window"
        )
    volatility: np.ndarray = np.log(variance) / 2
    return volatility


def logarithms(values: np.ndarray, names: tuple[str, ...] | list[str], how: How, field: str) -> np.ndarray:
    """Return the logarithms; ValueError, beginning with `field`, where a value has none."""
    for name, column in zip(names, values.T, strict=True):
        if len(column) and not column.min() > 0:
            raise ValueError(f"{field}: {how.transform} needs values above 0; column {name} has {column.min():g}")
    logarithm: np.ndarray = np.log(values)
    return logarithm


def lag_changes(levels: np.ndarray, how: How) -> tuple[np.ndarray, list[str]]:
    """Return how far each target's level `lag` rows ago lay from the row's own, (rows, targets * lags), and the names.

    NaN where that is before the first row.
    """
    changes = np.full((len(levels), len(how.lags) * levels.shape[1]), np.nan)
    width = levels.shape[1]
    for place, lag in enumerate(how.lags):
        changes[lag:, place * width : (place + 1) * width] = levels[:-lag] - levels[lag:]
    return changes, [f"{target} {lag} rows ago" for lag in how.lags for target in how.targets]
