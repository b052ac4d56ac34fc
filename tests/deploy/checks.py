"""All that is looked for in manifests, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tests.deploy import (
    connections,
    core_schemas,
    hardening,
    operator_rules,
    ray_schemas,
    references,
    restricted,
    settings,
    targets,
)
from tests.deploy.rendered import Object

Check = Callable[[Sequence[Object]], list[str]]
RAY_SCHEMAS = "the schemas of KubeRay's CRDs"
CHECKS: Mapping[str, Check] = {
    "Kubernetes' schemas": core_schemas.misfits,
    RAY_SCHEMAS: ray_schemas.misfits,
    "what the operator refuses": operator_rules.refusals,
    "Pod Security restricted": restricted.violations,
    "what pods name": references.loose_ends,
    "what others name": targets.misses,
    "connections": connections.faults,
    "hardening": hardening.gaps,
    "settings": settings.slips,
}


def findings(objects: Sequence[Object]) -> dict[str, list[str]]:
    """Return what each check finds, without those that find nothing; CRDs' schemas only where they are here."""
    checks = {name: check for name, check in CHECKS.items() if name != RAY_SCHEMAS or ray_schemas.are_here()}
    found = {name: check(objects) for name, check in checks.items()}
    return {name: lines for name, lines in found.items() if lines}
