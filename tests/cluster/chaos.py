"""Sweeps under a seeded row of faults, compared bit for bit with the same sweeps left alone.

python -m tests.cluster.chaos --faults 50 --seed 1 --json FILE
"""

from __future__ import annotations

import json
import random
import re
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from orchestrator.database.ledger import Ledger
from orchestrator.database.stored import load_study, read_sweep
from orchestrator.driver import Driver
from orchestrator.executors.local import LocalExecutor
from orchestrator.settings import Settings
from orchestrator.spec import spec_from
from orchestrator.tracking.base import NoTracker
from orchestrator.tracking.client import open_client
from orchestrator.trial import TrialRecord
from tests.cluster.bench import WORKER, Bench, PlannedSweep, benched
from tests.cluster.faults import FAULTS, ON_DISK, ON_S3
from tests.cluster.hosts import why_not

TRIALS, EVALUATIONS = 9, 8
CHANGING = ("sequence_steps_per_second", "peak_memory_mb")
"""Metrics that say how fast the machine was, and nothing of the result."""
RECOVERED_WITHIN_S = 300.0
BETWEEN_S = (0.5, 4.0)

Result = dict[int, tuple[Any, ...]]


@dataclass(frozen=True)
class Happened:
    """One fault, and how long it took the sweep to go on."""

    kind: str
    sweep: str
    lasted_s: float
    """Until what was taken away was back, or was to be replaced."""
    recovered_s: float
    """From then on until each trial that was under way had made one more evaluation, or had ended."""
    lost: int
    """Evaluations acknowledged before it that were gone or changed after it."""
    recomputed: int
    """Evaluations that were trained anew since it: under way when it came, or of a checkpoint that it damaged."""


@dataclass
class Account:
    """What a run of faults did."""

    happened: list[Happened] = field(default_factory=list)
    sweeps: list[str] = field(default_factory=list)
    evaluations: int = 0
    different: list[str] = field(default_factory=list)
    """Sentences on what is not as it is without faults; empty where all is."""
    drivers: int = 0
    damaged: int = 0
    """Times that a trial went on from the checkpoint before its last, which was damaged."""
    took_s: float = 0.0


def planned(bench: Bench) -> Iterator[PlannedSweep]:
    """Plan one sweep after the other: on S3 and on the shared disk in turns, settings that depend on nothing."""
    number = 0
    while True:
        number += 1
        name = f"chaos-{number}"
        place = bench.deployment.store.uri("sweeps") if number % 2 else bench.deployment.disk.folder.as_uri()
        yield PlannedSweep(make_spec(name), place)


def make_spec(name: str) -> dict[str, Any]:
    """Return a sweep whose evaluations take about a second; its settings follow from the trial's number alone."""
    return {
        "name": name,
        "workload": {"kind": "memory", "task": "copy", "lag": 5},
        "space": {
            "cell_type": ["rnn", "gru", "lstm"],
            "hidden_size": [16, 32],
            "truncation_length": {"int": [4, 16]},
        },
        "train": {"batch_size": 16, "learning_rate": 0.003},
        "budget": {"trials": TRIALS, "sequence_steps": 50_000 * EVALUATIONS, "evaluations": EVALUATIONS},
        "search": {"sampler": "random", "pruner": "none", "seed": 11},
        "resources": {"cpus": 1},
    }


def results(trials: list[TrialRecord]) -> Result:
    """Return all that a sweep found, without what tells of the machine's speed."""
    return {
        trial.number: (
            str(trial.state),
            dict(trial.chosen),
            [
                (one.evaluation, one.sequence_steps, {key: v for key, v in one.metrics.items() if key not in CHANGING})
                for one in trial.evaluations
            ],
        )
        for trial in trials
    }


def left_alone(folder: Path) -> Result:
    """Return what the sweep finds with no fault, one trial after the other in this process."""
    settings = Settings.load({"runs": folder / "alone"}, environ={})
    with Driver(settings, spec_from(make_spec("alone")), executor=LocalExecutor(1), tracker=NoTracker()) as driver:
        for _ in driver.run():
            pass
    return results(read_sweep(Ledger(settings.study_url), "alone")[1])


def draw(kinds: list[str], bench: Bench) -> str | None:
    """Take the next kind of the row that means something where the sweep's checkpoints lie; None where none is left."""
    meaningless = ON_DISK if bench.running.is_on_s3 else ON_S3
    kind = next((kind for kind in kinds if kind not in meaningless), None)
    if kind is not None:
        kinds.remove(kind)
    return kind


def row_of_kinds(count: int, chance: random.Random) -> list[str]:
    """Return kinds in a row: each comes before any comes again."""
    row: list[str] = []
    while len(row) < count:
        kinds = list(FAULTS)
        chance.shuffle(kinds)
        row += kinds
    return row[:count]


def strike(bench: Bench, kind: str, chance: random.Random) -> Happened:
    """Let one fault happen, and wait until every trial that was under way goes on."""
    began, before, recomputed = time.monotonic(), results(bench.trials()), count_recomputed(bench)
    FAULTS[kind](bench, chance)
    lasted = time.monotonic() - began
    reached = {trial.number: len(trial.evaluations) for trial in bench.trials() if not trial.state.is_final}

    def goes_on() -> bool:
        now = {trial.number: trial for trial in bench.trials()}
        return all(now[key].state.is_final or len(now[key].evaluations) > made for key, made in reached.items())

    recovered = bench.tend_until(goes_on, RECOVERED_WITHIN_S, f"{bench.running.name} goes on after {kind}")
    lost = count_lost(before, results(bench.trials()))
    return Happened(kind, bench.running.name, lasted, recovered, lost, count_recomputed(bench) - recomputed)


def count_lost(before: Result, after: Result) -> int:
    """Return how many evaluations of `before` are not in `after` as they were."""
    return sum(
        one not in after.get(number, (None, None, []))[2] for number, trial in before.items() for one in trial[2]
    )


def count_recomputed(bench: Bench) -> int:
    """Return how many evaluations drivers have had trained anew, by what they say."""
    return len(re.findall(r"^trial \d+ goes on after|training again from", bench.said(), re.MULTILINE))


def is_training(bench: Bench) -> bool:
    """Tell whether there is all that a fault could disturb: a driver, a worker and a trial that has got somewhere."""
    return (
        bench.driver is not None
        and bench.driver.status is None
        and any(host.processes(WORKER) for host, _ in bench.cluster.nodes)
        and any(trial.evaluations and not trial.state.is_final for trial in bench.trials())
    )


def run_chaos(bench: Bench, kinds: list[str], seed: int, expected: Result) -> Account:
    """Drive sweep after sweep until every fault of the row has happened and the last sweep is finished."""
    chance, account, sweeps = random.Random(seed), Account(), planned(bench)
    began = time.monotonic()
    row = list(kinds)
    while row:
        bench.begin(next(sweeps))
        account.sweeps.append(bench.running.name)
        bench.tend_until(lambda: bench.evaluated() > 0, RECOVERED_WITHIN_S, "the sweep begins")
        while row and not bench.tend():
            bench.tend_for(chance.uniform(*BETWEEN_S))
            bench.tend_until(lambda: is_training(bench) or bench.tend(), RECOVERED_WITHIN_S, "a trial is trained")
            if bench.tend() or all(trial.state.is_final for trial in bench.trials()):
                break  # a fault would find nothing to disturb
            if (kind := draw(row, bench)) is None:
                break
            account.happened.append(strike(bench, kind, chance))
            one = account.happened[-1]
            click.echo(
                f"{len(account.happened):3}/{len(kinds)} {one.kind}, in {one.sweep}: {one.lasted_s:.1f} s, "
                f"went on after {one.recovered_s:.1f} s, {one.lost} lost, {one.recomputed} trained anew",
            )
        bench.tend_until(bench.tend, 900, f"{bench.running.name} finishes")
        account.evaluations += bench.evaluated()
        account.different += compare(bench, expected)
    account.took_s, account.drivers = time.monotonic() - began, bench.starts
    account.damaged = len(re.findall(r"training again from", bench.said()))
    return account


def compare(bench: Bench, expected: Result) -> list[str]:
    """Return what the database and MLflow have of the sweep that differs from what it finds without faults."""
    name = bench.running.name
    trials = bench.trials()
    found, different = results(trials), []
    if found != expected:
        wrong = [number for number in expected if found.get(number) != expected[number]]
        different.append(f"{name}: trials {wrong} differ from those without faults")
    for frozen, trial in zip(load_study(bench.ledger, name).get_trials(deepcopy=False), trials, strict=True):
        values = {one.evaluation + 1: one.metrics["valid_loss"] for one in trial.evaluations}
        if frozen.intermediate_values != values or frozen.value != values[max(values)]:
            different.append(f"{name}: trial {trial.number} is not in Optuna's study evaluation by evaluation")
    client = open_client(bench.deployment.settings(bench.running.checkpoints))
    experiments = [found.experiment_id for found in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.`bptt.sweep` = '{name}' AND tags.`bptt.trial` LIKE '%'")
    shown = {int(run.data.tags["bptt.trial"]): run for run in runs}
    if len(runs) != len(shown) or set(shown) != set(expected):
        different.append(f"{name}: {len(runs)} runs in MLflow for {len(expected)} trials")
    for trial in trials:
        if trial.number in shown:
            history = client.get_metric_history(shown[trial.number].info.run_id, "valid_loss")
            points = Counter((metric.step, metric.value) for metric in history)
            if points != Counter((one.sequence_steps, one.metrics["valid_loss"]) for one in trial.evaluations):
                different.append(f"{name}: trial {trial.number} is not in MLflow evaluation by evaluation")
    return different


def table(account: Account) -> str:
    """Return the account by kind of fault, as Markdown."""
    by_kind: dict[str, list[Happened]] = defaultdict(list)
    for one in account.happened:
        by_kind[one.kind].append(one)
    lines = [
        "| fault | times | evaluations lost | trained anew | goes on after, median (longest) |",
        "|---|---|---|---|---|",
        *(row(kind, by_kind[kind]) for kind in FAULTS if by_kind[kind]),
        row("all", account.happened),
        "",
        f"{len(account.sweeps)} sweeps, {account.evaluations} evaluations, {account.drivers} drivers, "
        f"{account.took_s / 60:.0f} minutes: {len(account.different)} differences from the sweeps without faults; "
        f"{account.damaged} times a trial went on from the checkpoint before one that was damaged.",
    ]
    return "\n".join(lines)


def row(words: str, found: list[Happened]) -> str:
    """Return one row of the table."""
    took = [one.recovered_s for one in found]
    cells = (
        words,
        len(found),
        sum(one.lost for one in found),
        sum(one.recomputed for one in found),
        f"{statistics.median(took):.1f} s ({max(took):.1f} s)",
    )
    return f"| {' | '.join(map(str, cells))} |"


def plain(account: Account, seed: int) -> dict[str, Any]:
    """Return the account for a JSON file."""
    return {
        "seed": seed,
        "faults": [asdict(one) for one in account.happened],
        **{key: getattr(account, key) for key in Account.__dataclass_fields__ if key != "happened"},
    }


@click.command()
@click.option("--faults", default=50, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path))
def main(faults: int, seed: int, file: Path | None) -> None:
    """Run sweeps under so many faults, and print what they did."""
    if reason := why_not():
        raise click.ClickException(reason)
    folder = Path(tempfile.mkdtemp(prefix="bptt-chaos-"))
    click.echo(f"logs: {folder}")
    expected = left_alone(folder)
    with benched(folder) as bench:
        account = run_chaos(bench, row_of_kinds(faults, random.Random(seed)), seed, expected)
    click.echo(table(account))
    for line in account.different:
        click.echo(line)
    if file is not None:
        file.write_text(json.dumps(plain(account, seed), indent=1) + "\n")
    raise SystemExit(bool(account.different))


if __name__ == "__main__":
    main()
