"""The cost of the machine round the training: trials that do nothing, with MLflow on SQLite.

The same number of trials runs with one evaluation each and with thirty each; what an evaluation costs is the slope,
what a trial costs is the rest. Starting Ray is not counted; waiting at the end until MLflow has everything is.
Whole sweeps beside Ray Tune's: `tests/benchmarks/peers`.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median

from orchestrator.driver import Driver
from orchestrator.executors import make_executor
from orchestrator.settings import Settings
from orchestrator.tracking import open_tracker
from tests.orchestrator.conftest import make_spec

WORKERS = 2
FEW, MANY = 1, 30
TRIALS = 150
"""So short that many are needed for what happens once, such as the last look at MLflow, not to count."""
ROUNDS = 3


def ours(trials: int, evaluations: int) -> float:
    """Return the seconds that our sweep of empty trials takes, tracking included, Ray's start left out."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.load({"runs": folder}, environ={})
        spec = make_spec(
            space={"quality": {"float": [0.1, 1.0]}},
            budget={"trials": trials, "sequence_steps": 30_000, "evaluations": evaluations},
            search={"sampler": "tpe", "pruner": "none"},
        )
        driver = Driver(settings, spec, executor=make_executor(workers=WORKERS), tracker=open_tracker(settings))
        with driver:
            wait_until_warm(driver, Path(folder, "artifacts"))
            began = time.perf_counter()
            for _ in driver.sweep.run():  # type: ignore[union-attr]
                pass
            driver.tracker.close({"state": "finished", "message": "", "best": None, "model": None}, 120)
            return time.perf_counter() - began


def wait_until_warm(driver: Driver, artifacts: Path) -> None:
    """Wait for the workers' processes and for MLflow's, which are started behind the driver's back."""
    # The artifacts' folder is made for the sweep file, which is written last when the runs are opened.
    while driver.executor.slots < WORKERS or not artifacts.exists():
        driver.executor.wait(0.05)  # no trial is under way, so only workers can come
        time.sleep(0.05)


def costs() -> tuple[float, float]:
    """Return milliseconds per trial and per evaluation."""
    few, many = ours(TRIALS, FEW), ours(TRIALS, MANY)
    evaluation = (many - few) / ((MANY - FEW) * TRIALS)
    return (few / TRIALS - FEW * evaluation) * 1000, evaluation * 1000


def main() -> None:
    """Print the median of the rounds, and the spread."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    found = [costs() for _ in range(ROUNDS)]
    print(f"\nTrials that do nothing, {WORKERS} workers, MLflow on SQLite, {ROUNDS} rounds: median (least - most)")
    for what, values in (("trial", [pair[0] for pair in found]), ("evaluation", [pair[1] for pair in found])):
        print(f"ms per {what:<11} {median(values):9.1f} ({min(values):.1f} - {max(values):.1f})")
