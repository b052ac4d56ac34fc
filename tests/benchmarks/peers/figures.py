"""What was measured of each side, and the tables and the file made of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.peers.scenarios import OURS, Scenario


@dataclass(frozen=True, slots=True)
class TrainedTrial:
    """One trial, as far as it was trained."""

    chosen: Mapping[str, Any]
    began: float
    """Seconds since the epoch."""
    losses: list[float] = field(default_factory=list)
    """Of each evaluation."""
    training_s: float = 0.0
    """Seconds in updates: evaluations, checkpoints and waiting are left out."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one side."""

    side: str
    round: int
    """Those of one round had the same seed, one after the other."""
    wall_s: float
    """From the start of the process to its end."""
    from_training_s: float
    """From the beginning of the first training to the end of the process."""
    training_s: float
    """Seconds in updates, of all trials together."""
    trials: int
    evaluations: int
    best_loss: float
    """Of the trials trained to their end, at their end."""
    free_share: float
    """Of a core, that a busy process had just before: 1 where nobody else was at work."""


def run_of(trials: Sequence[TrainedTrial], scenario: Scenario, measured: Mapping[str, Any]) -> Run:
    """Return a run from its trials and what was measured round it; RuntimeError where it is not what was asked for."""
    complete = [trial.losses[-1] for trial in trials if len(trial.losses) == scenario.evaluations]
    if len(trials) != scenario.trials or not complete:
        raise RuntimeError(f"{len(trials)} of {scenario.trials} trials, {len(complete)} of them to their end")
    return Run(
        **{name: measured[name] for name in ("side", "round", "wall_s", "free_share")},
        from_training_s=measured["ended"] - min(trial.began for trial in trials),
        training_s=sum(trial.training_s for trial in trials),
        trials=len(trials),
        evaluations=sum(len(trial.losses) for trial in trials),
        best_loss=min(complete),
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the least and the most."""

    middle: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return that of some values."""
        return cls(median(values), min(values), max(values))

    def text(self, digits: int = 1) -> str:
        """Return it as a cell of a table."""
        return f"{self.middle:.{digits}f} ({self.least:.{digits}f} to {self.most:.{digits}f})"


def ratios(runs: Sequence[Run], side: str, quantity: Callable[[Run], float]) -> Spread | None:
    """Return what ours takes as a part of what a side takes, over the rounds that have both; None where none has."""
    by_round = {(run.side, run.round): quantity(run) for run in runs}
    rounds = sorted({run.round for run in runs})
    both = [number for number in rounds if (OURS, number) in by_round and (side, number) in by_round]
    return Spread.of([by_round[OURS, number] / by_round[side, number] for number in both]) if both else None


COLUMNS = ("wall, s", "from the first training, s", "in updates, s", "evaluations", "best loss")


def table(runs: Sequence[Run]) -> str:
    """Return the Markdown table of a scenario: medians of the rounds, with the least and the most."""
    lines = ["| side | " + " | ".join(COLUMNS) + " | ours takes |", "| --- |" + " ---: |" * (len(COLUMNS) + 1)]
    for side in dict.fromkeys(run.side for run in runs):
        mine = [run for run in runs if run.side == side]
        cells = [Spread.of([getattr(run, name) for run in mine]).text() for name in ("wall_s", "from_training_s")]
        cells.append(f"{median(run.training_s for run in mine):.1f}")
        cells += [
            Spread.of([run.evaluations for run in mine]).text(0),
            Spread.of([run.best_loss for run in mine]).text(3),
        ]
        beside = None if side == OURS else ratios(runs, side, lambda run: run.wall_s)
        cells.append("" if beside is None else f"{beside.text(2)} x")
        lines.append(f"| {side} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdicts(runs: Sequence[Run], scenario: Scenario) -> list[str]:
    """Return a line for each bar: what was asked for, what was found."""
    lines = []
    for side, most in scenario.bars.items():
        found = ratios(runs, side, lambda run: run.wall_s)
        if found is None:
            continue
        ours, theirs = (median(run.best_loss for run in runs if run.side == each) for each in (OURS, side))
        is_met = found.middle <= most and (not scenario.prunes or ours <= theirs)
        losses = f", best loss {ours:.3f} beside {theirs:.3f}" if scenario.prunes else ""
        lines.append(
            f"{scenario.name}: {found.text(2)} of the time of {side}, at most {most:g} asked for{losses}: "
            f"{'met' if is_met else 'MISSED'}"
        )
    return lines


def write(path: Path, content: Mapping[str, Any], runs: Mapping[str, Sequence[Run]]) -> None:
    """Write everything as JSON: what does not depend on a run, and each run by scenario."""
    shown = {name: [asdict(run) for run in each] for name, each in runs.items()}
    rounded = json.loads(json.dumps(shown), parse_float=lambda text: round(float(text), 4))
    path.write_text(json.dumps({**content, "runs": rounded}, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, list[Run]]:
    """Return the runs of a file written before, by scenario."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return {name: [Run(**run) for run in runs] for name, runs in content["runs"].items()}
