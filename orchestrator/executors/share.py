"""Sharing a cluster fairly: every driver says what its sweep would have, and all reckon alike who takes how much.

Said in the key-value store of Ray's head, under the driver's job, which Ray knows to be over when the driver is gone.
Nobody is asked, nobody is in charge: a sweep takes its share of what there is, and lets go of the rest as trials end.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from orchestrator.executors.cluster import Node, fitting

SPACE = "bptt"
PREFIX = "claim/"
TURN_S = 300.0
"""How long a place that cannot be divided is one sweep's, before it is the next one's turn."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one sweep would have of a cluster."""

    job: str
    """Of its driver, as Ray numbers it."""
    wants: int
    """Workers."""
    demand: Mapping[str, float]
    """What each of them takes of a node, by Ray's names."""


def exchange(claim: Claim) -> list[Claim]:
    """Publish a claim and return all there are, this one too; those whose driver is gone are cleared away."""
    try:
        return _exchange(claim)
    except AttributeError:  # not what Ray offers everybody: without it there is no sharing, but there is training
        return [claim]


def _exchange(claim: Claim) -> list[Claim]:
    import ray
    from ray.experimental import internal_kv

    internal_kv._internal_kv_put(f"{PREFIX}{claim.job}", json.dumps(asdict(claim)), namespace=SPACE)
    alive = {job["JobID"] for job in ray._private.state.jobs() if not job["IsDead"]}
    found = [claim]
    for key in internal_kv._internal_kv_list(PREFIX, namespace=SPACE):
        job = key.decode().removeprefix(PREFIX)
        if job not in alive:
            withdraw(job)
        elif job != claim.job and (content := internal_kv._internal_kv_get(key, namespace=SPACE)) is not None:
            with contextlib.suppress(ValueError, TypeError):  # another version's, which nobody here can reckon with
                found.append(Claim(**json.loads(content)))
    return found


def withdraw(job: str) -> None:
    """Clear away the claim of a driver."""
    from ray.experimental import internal_kv

    internal_kv._internal_kv_del(f"{PREFIX}{job}", namespace=SPACE)


def fair_shares(claims: Sequence[Claim], there: Sequence[Node], now: float | None = None) -> dict[str, int]:
    """Return how many workers each job takes: one after another to whoever has the smallest part, while they last.

    A part is that of the resource of which a sweep takes most (Ghodsi et al., 2011, "Dominant resource fairness").
    Of those with equal parts, who is first changes with time.
    """
    names = {name for claim in claims for name in claim.demand}
    free = {name: sum(node.has.get(name, 0.0) for node in there if not node.is_draining) for name in names}
    part = {
        claim.job: max(amount / max(free[name], amount) for name, amount in claim.demand.items()) for claim in claims
    }
    most = {claim.job: min(claim.wants, fitting(there, claim.demand)) for claim in claims}
    turn = int((time.time() if now is None else now) // TURN_S)
    jobs = sorted(part)
    order = {job: (place + turn) % len(jobs) for place, job in enumerate(jobs)}
    got = dict.fromkeys(jobs, 0)
    asking = list(claims)
    while asking:
        claim = min(asking, key=lambda each: (round(got[each.job] * part[each.job], 9), order[each.job]))
        fits = all(free[name] >= amount - 1e-9 for name, amount in claim.demand.items())
        if got[claim.job] >= most[claim.job] or not fits:
            asking.remove(claim)
            continue
        got[claim.job] += 1
        for name, amount in claim.demand.items():
            free[name] -= amount
    return got
