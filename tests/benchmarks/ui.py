"""How long the MLflow UI takes to show a large sweep: 500 trials of 100 evaluations. Run by `make bench-ui`.

The sweep of `make bench-report` is written into MLflow by the project's own tracker, report and figures with it; all
evaluations of a trial but its last go into the table of metrics directly, since MLflow takes minutes for so many. It is
served by `bptt ui` and opened in Chromium, each time in a new profile: nothing is cached. What is measured is the time
from asking for a page to seeing on it what it is for.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, text

from orchestrator.database.ledger import Ledger
from orchestrator.report.html import figures_and_page
from orchestrator.settings import Settings
from orchestrator.standing import standing
from orchestrator.tracking.runs import SweepRuns
from orchestrator.tracking.view import SweepView
from orchestrator.trial import TrialRecord
from tests.benchmarks.report import EVALUATIONS, TRIALS, write_sweep
from tests.browser.chromium import Visit, browsing, why_not
from tests.browser.served import Shown, look_up, serving
from tests.orchestrator.recorded import DATASET
from workloads.protocol import Dataset

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAME = "large"
INSERT = text(
    "INSERT OR IGNORE INTO metrics (key, value, timestamp, step, is_nan, run_uuid) "
    "VALUES (:key, :value, :timestamp, :step, 0, :run)"
)
ROUNDS = 3
MOST_S = 5.0
"""Until the experiment's page shows its runs."""


def show(settings: Settings, ledger: Ledger) -> None:
    """Write the sweep into MLflow, as a driver would have left it."""
    seen = standing(ledger, ledger.sweep(NAME))
    data = Dataset(DATASET["name"], {}, {}, DATASET["source"], DATASET["fingerprint"], dict(DATASET["baselines"]))
    runs = SweepRuns(settings)
    runs.open(SweepView.of(seen.spec, data), {})
    runs.attach()
    for trial in seen.trials:
        runs.write(replace(trial, evaluations=trial.evaluations[-1:]))
    run_ids = {int(name.split()[0]): run_id for name, run_id in look_up(settings, NAME).trials.items()}
    engine = create_engine(settings.tracking_uri)
    with engine.begin() as connection:
        for trial in seen.trials:
            if rows := rows_of(trial, run_ids[trial.number]):
                connection.execute(INSERT, rows)
    runs.illustrate(figures_and_page(settings, NAME)(None))
    runs.end({"state": "finished", "message": ""})


def rows_of(trial: TrialRecord, run_id: str) -> list[dict[str, object]]:
    """Return what MLflow's table of metrics holds of a trial's evaluations but the last."""
    return [
        {"key": name, "value": value, "timestamp": int(each.time * 1000), "step": each.sequence_steps, "run": run_id}
        for each in trial.evaluations[:-1]
        for name, value in each.metrics.items()
    ]


def seconds_until(browser: Browser, address: str, is_shown: Callable[[Page], object]) -> float:
    """Return how long a page takes, in a profile that has never seen it."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = Visit(context.new_page()).page
    began = time.perf_counter()
    page.goto(address, wait_until="commit")
    is_shown(page)
    took = time.perf_counter() - began
    context.close()
    return took


def measure(browser: Browser, base: str, shown: Shown) -> dict[str, list[float]]:
    """Return the seconds of each round, by what is opened."""
    pages: dict[str, tuple[str, Callable[[Page], object]]] = {
        "the experiment's page, until it shows its runs": (
            shown.runs(),
            lambda page: page.get_by_role("link", name=shown.name, exact=True).first.wait_for(),
        ),
        "the list of experiments, beside it": (
            "/#/experiments?workflowType=machine_learning",
            lambda page: page.get_by_role("link", name="bptt/language_model").first.wait_for(),
        ),
        "the sweep's run, until it shows its description": (
            shown.run(shown.parent),
            lambda page: page.get_by_text("sweeps").first.wait_for(),
        ),
    }
    return {
        name: [seconds_until(browser, base + path, is_shown) for _ in range(ROUNDS)]
        for name, (path, is_shown) in pages.items()
    }


def main() -> None:
    """Fill MLflow, open its pages, and say what that took; exit 1 where the first takes too long."""
    if reason := why_not():
        sys.exit(f"bench-ui: {reason}")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load({"runs": folder}, environ={})
        ledger = write_sweep(settings, TRIALS, EVALUATIONS)
        began = time.perf_counter()
        show(settings, ledger)
        print(
            f"{TRIALS} trials of {EVALUATIONS} evaluations, written into MLflow in {time.perf_counter() - began:.0f} s"
        )
        with serving(settings.runs) as address, browsing() as browser:
            found = measure(browser, address.partition("/#")[0], look_up(settings, NAME))
    for name, seconds in found.items():
        each = ", ".join(f"{one:.1f}" for one in seconds)
        print(f"  {name:<50}{median(seconds):5.1f} s (median of {each})")
    first = median(next(iter(found.values())))
    print(f"  at most {MOST_S:g} s for the first")
    sys.exit(first > MOST_S)


if __name__ == "__main__":
    main()
