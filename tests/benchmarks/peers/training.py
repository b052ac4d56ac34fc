"""What every peer has in common: its options, the trial that it trains, and the notes that it leaves of it.

It is imported in the peers' environment, where the orchestrator's is not; `workloads` is the project's own.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import workloads
from tests.benchmarks.peers.scenarios import METRIC, SCENARIOS, Scenario
from workloads.heap import hold_tensors_apart
from workloads.protocol import Dataset, Progress, Workload

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SUGGESTING = {"int": "suggest_int", "float": "suggest_float"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a peer is asked for."""

    scenario: Scenario
    seed: int
    folder: Path
    """Where everything goes that it writes."""
    way: str = ""
    """Which of its ways to run, where it has several."""

    @property
    def tracking_uri(self) -> str:
        """Return the address of the MLflow database, of the same kind on all sides."""
        return f"sqlite:///{self.folder / 'mlflow.db'}"


def read_options(arguments: Sequence[str] | None = None, *, ways: Sequence[str] = ()) -> Asked:
    """Read a peer's command line; SystemExit where it is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenario", choices=SCENARIOS, required=True)
    parser.add_argument("--trials", type=int, help="fewer than the scenario has, to try")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--kernel", help="of trials, in place of the one that the scenario has")
    if ways:
        parser.add_argument("--way", choices=ways, default=ways[0])
    given = parser.parse_args(arguments)
    scenario = SCENARIOS[given.scenario]
    train = scenario.train if given.kernel is None else {**scenario.train, "kernel": given.kernel}
    scenario = replace(scenario, trials=given.trials or scenario.trials, train=train)
    return Asked(scenario, given.seed, given.folder.absolute(), getattr(given, "way", ""))


def prepare(scenario: Scenario) -> Dataset:
    """Load the data, once per sweep."""
    return _workload(scenario).prepare()


def _workload(scenario: Scenario) -> Workload:
    options = dict(scenario.workload)
    return workloads.load(options.pop("kind"), options)


def suggest(trial: Any, space: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Let Optuna choose a setting."""
    chosen = {}
    for name, given in space.items():
        kind = next(kind for kind in SUGGESTING if kind in given)
        chosen[name] = getattr(trial, SUGGESTING[kind])(name, *given[kind], log=given.get("log", False))
    return chosen


def make_sampler(seed: int) -> BaseSampler:
    """Return the sampler that ours has too, so that no side searches better than another."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is experimental
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


class LatestCheckpoint:
    """A storage that keeps the newest checkpoint of a trial in memory, for whoever wants it in a file."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, name: str, content: bytes) -> str:
        """Keep `content` in place of what was kept."""
        self.content = content
        return name

    def read(self, uri: str) -> bytes:
        """Find nothing: no trial is resumed here."""
        raise FileNotFoundError(uri)


def train(asked: Asked, dataset: Dataset, chosen: Mapping[str, Any], storage: LatestCheckpoint) -> Iterator[Progress]:
    """Train one trial on one thread, as a worker of ours does; note its beginning and each evaluation."""
    hold_tensors_apart()
    import torch

    torch.set_num_threads(1)
    scenario, trial = asked.scenario, uuid.uuid4().hex
    budget = {"sequence_steps": scenario.sequence_steps, "evaluations": scenario.evaluations}
    note(asked.folder, {"trial": trial, "chosen": dict(chosen), "began": time.time()})
    for progress in _workload(scenario).train({**scenario.train, **chosen, **budget}, dataset, storage):
        rate = progress.metrics["sequence_steps_per_second"]
        figures = {"loss": progress.metrics[METRIC], "sequence_steps": progress.sequence_steps, "rate": rate}
        note(asked.folder, {"trial": trial, **figures})
        yield progress


def note(folder: Path, content: Mapping[str, Any]) -> None:
    """Add a line to the notes of this process and thread."""
    with (folder / f"notes-{os.getpid()}-{threading.get_ident()}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(content) + "\n")
