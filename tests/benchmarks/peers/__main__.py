"""Ours beside Ray Tune, Optuna alone and a bare loop, each in its best configuration: `make bench-peers`.

All sides train the same function on settings drawn from the same space with the same budget and seed, two trials at
once on one CPU thread each, and but for the bare loop write every evaluation to MLflow on SQLite. A round runs them
one after the other, every second round in the opposite order. Ours registers its best model and draws its report beside
that; the bare loop trains what ours trained in that round, as far as it trained it; one side has torch's kernels alone.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.benchmarks.peers.figures import Run, Spread, read, table, verdicts, write
from tests.benchmarks.peers.scenarios import (
    BARE,
    DEFAULT,
    OURS,
    PROCESSES,
    SCENARIOS,
    THREADS,
    TORCHS,
    TUNED,
    WORKERS,
    Scenario,
)
from tests.benchmarks.peers.sides import PEERS_PYTHON, Round, adopt_orphans, measure
from tests.benchmarks.peers.training import prepare

ORDER = (DEFAULT, TORCHS, TUNED, OURS, BARE, THREADS, PROCESSES)
"""Of the first round. The bare loop, which repeats what ours trained, always follows it."""
PACKAGES = ("ray", "optuna", "mlflow", "torch", "numpy", "joblib")
RESULTS = Path(__file__).with_name("results.json")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it, print the tables, and write every run to a file as soon as it is there."""
    given = read_options(arguments)
    if given.show:
        for name, known in read(given.output).items():
            show(SCENARIOS[name], known)
        return
    if not PEERS_PYTHON.exists():
        sys.exit(f"{PEERS_PYTHON} is missing; `make bench-peers` makes it")
    adopt_orphans()
    scenarios = [scenario for scenario in chosen_scenarios(given) if is_there(scenario)]
    runs: dict[str, list[Run]] = {scenario.name: [] for scenario in scenarios}
    about = {"machine": machine(), "versions": versions(), "scenarios": {each.name: asdict(each) for each in scenarios}}
    if given.warm_up:
        for scenario in scenarios:
            for _ in one_round(replace(scenario, trials=2 * WORKERS), -1, given.side):
                pass
    for number in range(given.pairs):
        for scenario in scenarios:
            for run in one_round(scenario, number, given.side):
                runs[scenario.name].append(run)
                write(given.output, about, runs)
    for scenario in scenarios:
        show(scenario, runs[scenario.name])


def show(scenario: Scenario, runs: Sequence[Run]) -> None:
    """Print a scenario's table and what became of its bars."""
    rounds, share = len({run.round for run in runs}), Spread.of([run.free_share for run in runs])
    print(f"\n{in_words(scenario)}; {rounds} rounds, median (least to most); before each run a busy process")
    print(f"had {share.text(2)} of a core\n\n{table(runs)}\n")
    print("\n".join(verdicts(runs, scenario)), flush=True)


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; SystemExit where it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers")
    parser.add_argument("--pairs", type=int, default=5, help="rounds, in each of which every side runs once")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="only this one; may be given again")
    parser.add_argument("--side", action="append", choices=ORDER, help="only this one beside ours; may be given again")
    parser.add_argument("--trials", type=int, help="fewer than the scenarios have, to try")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the JSON file written")
    parser.add_argument("--no-warm-up", dest="warm_up", action="store_false", help="measure from the first run on")
    parser.add_argument("--show", action="store_true", help="measure nothing; print the tables of the file")
    given = parser.parse_args(arguments)
    if given.pairs < 1:
        parser.error("--pairs: at least 1")
    return given


def chosen_scenarios(given: argparse.Namespace) -> list[Scenario]:
    """Return the scenarios asked for, as long as asked for."""
    names = given.scenario or list(SCENARIOS)
    return [replace(SCENARIOS[name], trials=given.trials or SCENARIOS[name].trials) for name in names]


def is_there(scenario: Scenario) -> bool:
    """Tell whether a scenario's data are there; say so where they are not."""
    try:
        prepare(scenario)
    except (ValueError, OSError) as error:
        print(f"{scenario.name}: left out: {error}", flush=True)
        return False
    return True


def in_order(number: int, only: Sequence[str] | None) -> list[str]:
    """Return the sides of a round in their order: every second round the other way round, the bare loop behind ours."""
    wanted = [side for side in ORDER if side != BARE and (not only or side == OURS or side in only)]
    ordered = wanted if number % 2 == 0 else wanted[::-1]
    if not only or BARE in only:
        ordered.insert(ordered.index(OURS) + 1, BARE)
    return ordered


def one_round(scenario: Scenario, number: int, only: Sequence[str] | None) -> Iterator[Run]:
    """Run every side once; say what each took."""
    with tempfile.TemporaryDirectory(prefix="bptt-peers-") as folder:
        given = Round(scenario, max(number, 0), Path(folder))
        for side in in_order(number, only):
            run = measure(side, given)
            print(
                f"{time.strftime('%H:%M:%S')} {scenario.name} {'warm-up' if number < 0 else number}: {side}: "
                f"{run.wall_s:.1f} s ({run.from_training_s:.1f} from the first training, "
                f"{run.training_s:.1f} in updates), {run.evaluations} evaluations, best loss {run.best_loss:.4f}",
                flush=True,
            )
            yield run


def in_words(scenario: Scenario) -> str:
    """Return in a line what a scenario is."""
    steps = scenario.sequence_steps // scenario.evaluations
    pruning = "TPE and ASHA there, `cost_aware` and `delayed_promotion` here" if scenario.prunes else "none ended early"
    return (
        f"{scenario.name}: {scenario.trials} trials of {scenario.evaluations} evaluations of {steps:,} characters "
        f"each, {pruning}, {WORKERS} workers"
    )


def machine() -> dict[str, Any]:
    """Return what the figures depend on, and nothing that names the machine."""
    cpu = platform.machine()
    known = Path("/proc/cpuinfo")
    if known.exists() and (found := re.search(r"^model name\s*: (.*)$", known.read_text(), re.MULTILINE)):
        cpu = found[1].strip()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gb": round(memory, 1), "system": platform.system()}


def versions() -> dict[str, str]:
    """Return the versions, which both environments share by one list of pins."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


if __name__ == "__main__":
    main()
