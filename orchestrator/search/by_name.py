"""Samplers and pruners by the names that a sweep file uses."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.spec import SweepSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

    from orchestrator.search.parzen import KnownPoints


def distributions_of(spec: SweepSpec) -> dict[str, BaseDistribution]:
    """Return the space as Optuna has it."""
    return {name: parameter.distribution() for name, parameter in spec.space.items()}


def make_sampler(
    spec: SweepSpec, number: int, *, points: KnownPoints | None = None, seconds: Mapping[int, float] | None = None
) -> BaseSampler:
    """Return the sampler that `search.sampler` names, for the trial of that number.

    `points` are what TPE computed for the trials before, and will for this one; `seconds` those of an evaluation, by
    trial, which `cost_aware` needs.
    """
    from optuna import samplers

    from orchestrator.search.parzen import KnownPoints, SwiftTPESampler

    name, seed = spec.search.sampler, spec.search.seed
    # Samplers that walk a sequence kept in the database keep their seed; the others draw anew for each trial.
    drawn = (seed * 1_000_003 + number) % 2**32
    if name == "random":
        return samplers.RandomSampler(seed=drawn)
    if name == "gp":
        return samplers.GPSampler(seed=drawn)
    if name == "cost_aware":
        from orchestrator.search.cost_aware import CostAwareSampler

        return CostAwareSampler(
            drawn, distributions_of(spec), evaluations=spec.budget.evaluations, seconds=seconds or {}
        )
    if name == "qmc":
        return samplers.QMCSampler(seed=seed, scramble=True, independent_sampler=samplers.RandomSampler(seed=drawn))
    if name == "cmaes":
        return samplers.CmaEsSampler(seed=drawn, warn_independent_sampling=False)
    if name == "grid":
        return make_grid_sampler({key: parameter.grid() or [] for key, parameter in spec.space.items()}, seed)
    return SwiftTPESampler(points or KnownPoints(), seed=drawn)


def make_grid_sampler(space: dict[str, Sequence[Any]], seed: int) -> BaseSampler:
    """Return a grid sampler that leaves it to the driver to end the sweep."""
    from optuna.samplers import GridSampler

    class CountedGridSampler(GridSampler):
        def after_trial(self, *_: Any) -> None:
            """Do not call study.stop(), which is an error outside Optuna's own loop."""

    return CountedGridSampler(space, seed=seed)


def make_pruner(spec: SweepSpec) -> BasePruner:
    """Return the pruner that `search.pruner` names; its resource is the evaluation, counted from 1."""
    from optuna import pruners

    from orchestrator.search.judging import KeptHyperbandPruner, KeptPercentilePruner

    evaluations = spec.budget.evaluations
    warmup = max(evaluations // 10, 1)
    made: dict[str, Any] = {
        "none": pruners.NopPruner,
        "promotion": pruners.NopPruner,  # pauses trials instead of ending them: `promotion.py`
        "delayed_promotion": pruners.NopPruner,  # as the one before
        "curves": pruners.NopPruner,  # so does this: `curves.py`
        "median": lambda: KeptPercentilePruner(50.0, n_startup_trials=4, n_warmup_steps=warmup),
        "percentile": lambda: KeptPercentilePruner(25.0, n_startup_trials=4, n_warmup_steps=warmup),
        "successive_halving": lambda: pruners.SuccessiveHalvingPruner(min_resource=warmup, reduction_factor=3),
        "hyperband": lambda: KeptHyperbandPruner(min_resource=warmup, max_resource=evaluations, reduction_factor=3),
        "patient": lambda: pruners.PatientPruner(KeptPercentilePruner(50.0, n_startup_trials=4), patience=2),
    }
    pruner: BasePruner = made[spec.search.pruner]()
    return pruner


@contextmanager
def quietly() -> Iterator[None]:
    """Keep Optuna's notes to programmers (experimental features, fallbacks to random) from a user's terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
