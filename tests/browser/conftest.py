"""One browser and one sweep for all tests here, and pages that may complain of nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from orchestrator.settings import Settings
from tests.browser.chromium import NO_ASSISTANT, Visit, browsing, why_not
from tests.browser.served import BPTT, Shown, look_up, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Visiting = Callable[..., Visit]

SWEEP: dict[str, Any] = {
    "name": "recall",
    "workload": {"kind": "memory", "task": "copy", "lag": 4, "symbols": 4},
    "space": {
        "cell_type": ["gru", "lstm"],
        "truncation_length": {"int": [2, 16], "log": True},
        "learning_rate": {"float": [1e-3, 3e-2], "log": True},
    },
    "train": {"hidden_size": 16, "batch_size": 16},
    "budget": {"trials": 12, "sequence_steps": 40_000, "evaluations": 5},
    "search": {"sampler": "random", "pruner": "median", "seed": 3},
    "resources": {"cpus": 1},
}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if reason := why_not():
        pytest.skip(reason)
    with browsing() as running:
        yield running


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visiting]:
    """Open pages in profiles of their own, told apart by Playwright's options (color_scheme, viewport, ...)."""
    contexts = []

    def begin(**options: Any) -> Visit:
        contexts.append(browser.new_context(**options))
        contexts[-1].add_init_script(NO_ASSISTANT)
        return Visit(contexts[-1].new_page())

    yield begin
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def runs(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small sweep that was run for real; nobody runs it for a browser that is not there."""
    folder = tmp_path_factory.mktemp("recall")
    (folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    for command in (["run", "sweep.yaml", "--in-process"], ["report", "recall", "--html", "recall.html"]):
        done = subprocess.run([*BPTT, *command], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    return folder / "bptt-runs"


@pytest.fixture(scope="session")
def report(runs: Path) -> str:
    """The address of the sweep's report, a file."""
    return runs.with_name("recall.html").as_uri()


@pytest.fixture(scope="session")
def shown(runs: Path) -> Shown:
    return look_up(Settings.load({"runs": runs}, environ={}), "recall")


@pytest.fixture(scope="session")
def ui(runs: Path) -> Iterator[str]:
    """The page that `bptt ui` says to open."""
    with serving(runs) as address:
        yield address
