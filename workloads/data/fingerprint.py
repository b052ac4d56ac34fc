"""Build a Dataset and give it a fingerprint of what is inside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from workloads.protocol import Dataset


def make_dataset(
    *,
    name: str,
    arrays: Mapping[str, np.ndarray],
    facts: Mapping[str, Any],
    source: str,
    baselines: Mapping[str, float],
) -> Dataset:
    """Return the dataset with its fingerprint: SHA-256 over names, types, shapes, values and facts, 16 digits of it."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        digest.update(f"{key} {array.dtype.str} {array.shape}".encode())
        digest.update(array.view(np.uint8).data if array.size else b"")
    return Dataset(name, arrays, facts, source, digest.hexdigest()[:16], baselines)
