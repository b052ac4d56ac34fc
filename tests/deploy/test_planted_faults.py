"""Each of many mistakes is found: a check that finds nothing in good manifests may look at nothing."""

from __future__ import annotations

from functools import cache

import pytest

from tests.deploy import faults_of_parts, faults_of_pods, ray_schemas
from tests.deploy.checks import CHECKS, RAY_SCHEMAS, findings
from tests.deploy.planting import Fault
from tests.deploy.rendered import with_what_stands
from tests.deploy.test_manifests import NO_CRDS

FAULTS = [*faults_of_pods.FAULTS, *faults_of_parts.FAULTS]


@cache
def found_in(fault: Fault) -> dict[str, list[str]]:
    """Return what each check finds once the fault is planted."""
    objects = with_what_stands(fault.where)
    fault.plant(objects)
    return findings(objects)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_planted_fault_is_found(fault: Fault) -> None:
    if fault.needs_crds and not ray_schemas.are_here():
        pytest.skip(NO_CRDS)
    lines = [line for found in found_in(fault).values() for line in found]
    assert any(fault.words in line for line in lines), lines


def test_every_check_has_a_fault_that_it_finds() -> None:
    finding = {
        name
        for fault in FAULTS
        if not fault.needs_crds or ray_schemas.are_here()
        for name, lines in found_in(fault).items()
        if any(fault.words in line for line in lines)
    }
    assert finding == {name for name in CHECKS if name != RAY_SCHEMAS or ray_schemas.are_here()}
