"""Which versions of this project and of what it stands on are installed here."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = ("bptt", "torch", "ray", "optuna", "mlflow", "numpy")


def versions() -> dict[str, str]:
    """Return versions by name, of what is installed; nothing is imported for it."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
