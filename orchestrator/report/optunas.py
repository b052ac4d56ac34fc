"""A sweep as Optuna's own importances and plots want it: a study in memory, of one objective, the quality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.report.values import complete_values, sign
from orchestrator.search.by_name import quietly
from orchestrator.space import Parameter
from orchestrator.standing import Standing

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study


def study_of(seen: Standing) -> Study:
    """Return the trials as they were read, under their numbers; those not complete have neither setting nor value.

    To read them from the database again would take seconds where there are hundreds.
    """
    import optuna

    states = optuna.trial.TrialState
    values = complete_values(seen, seen.trials)
    settings = {trial.number: trial.chosen for trial in seen.trials if trial.number in values}
    space = {
        name: distribution_of(parameter, [chosen[name] for chosen in settings.values() if name in chosen])
        for name, parameter in seen.spec.space.items()
    }
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with quietly():
        study = optuna.create_study(direction="minimize" if sign(seen) > 0 else "maximize")
        for trial in seen.trials:
            known = {name: value for name, value in settings.get(trial.number, {}).items() if name in space}
            study.add_trial(
                optuna.trial.create_trial(
                    state=states.COMPLETE if trial.number in values else states.PRUNED,
                    value=values.get(trial.number),
                    params=known,
                    distributions={name: space[name] for name in known},
                )
            )
    return study


def distribution_of(parameter: Parameter, tried: list[Any]) -> BaseDistribution:
    """Return a hyperparameter's distribution, as wide as what was tried: the space may have been narrowed since."""
    import optuna

    found = parameter.distribution()
    if isinstance(found, optuna.distributions.CategoricalDistribution):
        new = dict.fromkeys(value for value in tried if value not in found.choices)
        return optuna.distributions.CategoricalDistribution([*found.choices, *new]) if new else found
    if all(found._contains(value) for value in tried):
        return found
    kind = optuna.distributions.IntDistribution if parameter.int_range else optuna.distributions.FloatDistribution
    return kind(min(tried), max(tried), log=parameter.log)
