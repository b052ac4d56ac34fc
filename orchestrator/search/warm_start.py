"""A sweep that begins with what earlier ones found: `search: {from: [names]}`.

The best settings of those sweeps are wished for before the first trial, as `bptt enqueue` would: each becomes a trial
of the new sweep, whose sampler learns from it, and a killed driver leaves them to its successor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.changes import check_wanted
from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import read_sweep
from orchestrator.database.wishes import WishKind, add_wish, all_wishes
from orchestrator.errors import UserError
from orchestrator.space import in_order, is_active
from orchestrator.spec import SweepSpec, trials_allowed
from orchestrator.trial import TrialState

MOST, PART = 5, 4
"""Settings taken over, and of how many trials of the budget one may be one of them."""


def begin_warm(ledger: Ledger, spec: SweepSpec, fingerprint: str) -> list[dict[str, Any]]:
    """Wish for the best settings of the sweeps that `search.from` names; return those wished for now.

    Called before the first trial; again after a kill it wishes for what is still lacking. Raises UserError where such a
    sweep is not there, has not ended, or was of something else, and where none of its settings is in the space.
    """
    known = [wish.content["setting"] for wish in all_wishes(ledger, spec.name) if wish.kind is WishKind.ENQUEUE]
    found = best_settings(ledger, spec, fingerprint)
    if not found:
        names = ", ".join(spec.search.earlier)
        raise UserError(f"search.from: {names}: no setting trained to its end there is in the space of {spec.name}")
    lacking = [(origin, setting) for origin, setting in found if setting not in known]
    for origin, setting in lacking:
        add_wish(ledger, spec.name, WishKind.ENQUEUE, {"setting": setting, "extra": False, "from": origin})
    return [setting for _, setting in lacking]


def best_settings(ledger: Ledger, spec: SweepSpec, fingerprint: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the best distinct settings that the space holds, with where each comes from, the best first."""
    sign = -1.0 if spec.objective.direction == "maximize" else 1.0
    entries = [entry for name in spec.search.earlier for entry in _settings_of(ledger, spec, name, fingerprint)]
    ranked = sorted(entries, key=lambda entry: sign * entry[0])
    found: list[tuple[str, dict[str, Any]]] = []
    for _, origin, setting in ranked:
        if all(setting != other for _, other in found):
            found.append((origin, setting))
    return found[: max(min(MOST, trials_allowed(spec) // PART), 1)]


def _settings_of(
    ledger: Ledger, spec: SweepSpec, name: str, fingerprint: str
) -> Iterator[tuple[float, str, dict[str, Any]]]:
    row = ledger.sweep(name)
    earlier, trials = read_sweep(ledger, name)
    if earlier.workload.kind != spec.workload.kind:
        raise UserError(f"search.from: {name} is of {earlier.workload.kind}, and {spec.name} of {spec.workload.kind}")
    if row.dataset.get("fingerprint") != fingerprint:
        raise UserError(
            f"search.from: {name} was trained on other data (fingerprint {row.dataset.get('fingerprint', 'unknown')}; "
            f"those of {spec.name}: {fingerprint})"
        )
    if row.state != "finished":
        raise UserError(f"search.from: {name} has not ended ({row.state}); let it end first: `bptt resume {name}`")
    for trial in trials:
        value = trial.value(str(spec.objective.metric))
        if trial.state is TrialState.COMPLETE and value is not None and math.isfinite(value):
            setting = _within(spec, trial.params)
            if setting is not None:
                yield value, f"trial {trial.number} of {name}", setting


def _within(spec: SweepSpec, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the space sweeps of a setting; None where some of it is not in the space."""
    setting: dict[str, Any] = {}
    for name in in_order(spec.space):
        if name in params and is_active(spec.space[name], setting):
            setting[name] = params[name]
    try:
        return check_wanted(spec, setting)
    except UserError:
        return None
