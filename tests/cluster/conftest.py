"""One bench for all tests here."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.cluster.bench import Bench, benched
from tests.cluster.hosts import why_not


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    if reason := why_not():
        pytest.skip(reason)
    if not postgres.is_installed():
        pytest.skip("PostgreSQL's server is not installed")
    # Beside pytest's own folders, which are shut to PostgreSQL's user.
    with benched(Path(tempfile.mkdtemp(prefix="bptt-cluster-"))) as made:
        made.cluster.wait_for_nodes(300)
        yield made
