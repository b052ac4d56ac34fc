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
    rights,
    settings,
    targets,
)
from tests.deploy.rendered import Object

Check = Callable[[Sequence[Object]], list[str]]
CORE_SCHEMAS, RAY_SCHEMAS = "Kubernetes' schemas", "the schemas of KubeRay's CRDs"
SCHEMAS = {CORE_SCHEMAS, RAY_SCHEMAS}
CHECKS: Mapping[str, Check] = {
    CORE_SCHEMAS: core_schemas.misfits,
    RAY_SCHEMAS: ray_schemas.misfits,
    "what the operator refuses": operator_rules.refusals,
    "Pod Security restricted": restricted.violations,
    "what pods name": references.loose_ends,
    "what others name": targets.misses,
    "connections": connections.faults,
    "hardening": hardening.gaps,
    "settings": settings.slips,
    "rights": rights.faults,
}


def findings(objects: Sequence[Object]) -> dict[str, list[str]]:
    """Return what each check finds, without those that find nothing; CRDs' schemas only where they are here.

    Where types are wrong the other checks could not even look.
    """
    checks = {name: check for name, check in CHECKS.items() if name != RAY_SCHEMAS or ray_schemas.are_here()}
    found: dict[str, list[str]] = {}
    for name, check in checks.items():
        if name not in SCHEMAS and SCHEMAS & set(found):
            break
        if lines := check(objects):
            found[name] = lines
    return found
