"""The manifests that come with this project: beside the package in a checkout, under share/bptt/k8s where installed."""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.errors import BpttError, UserError

PACKAGE = Path(__file__).parents[1]
SHARE = Path("share", "bptt", "k8s")


def manifests() -> Path:
    """Return the folder that holds base, overlays and sweep; BpttError where they did not come along."""
    # A wheel's data lie below the prefix; of `pip install --target`, beside the package.
    places = (PACKAGE.parent / "k8s", PACKAGE.parent / SHARE, Path(sys.prefix) / SHARE, _user_base() / SHARE)
    for place in places:
        if (place / "overlays").is_dir():
            return place
    raise BpttError(f"the manifests are missing: there is none of {', '.join(map(str, places))}; install bptt again")


def _user_base() -> Path:
    import site

    return Path(site.getuserbase())


def overlays() -> list[str]:
    """Return the names of the overlays."""
    return sorted(each.parent.name for each in manifests().glob("overlays/*/kustomization.yaml"))


def overlay(name: str) -> Path:
    """Return the folder of an overlay; UserError with those there are."""
    there = overlays()
    if name not in there:
        raise UserError(f"OVERLAY: {name!r}; there are {', '.join(there)}")
    return manifests() / "overlays" / name
