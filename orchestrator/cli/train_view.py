"""What `bptt train` shows: an evaluation a line, and in the end the best one beside the baselines."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

import click

from orchestrator.cli.predict_model import prompt_flag
from orchestrator.cli.trained import TrainedFolder, shown
from orchestrator.report.beside import compare, losses
from orchestrator.wording import number
from workloads.protocol import Dataset, Progress

SHOWN = ("cell_type", "num_layers", "hidden_size", "truncation_length", "learning_rate", "sequence_steps")

IN_A_LINE = 4
"""Metrics in the line of an evaluation; the last lines show all of them."""


class TrainView:
    """What the user sees: a line for each evaluation; on a terminal, below it, how long it will still take."""

    def __init__(self, folder: TrainedFolder, dataset: Dataset, *, as_json: bool) -> None:
        self.folder, self.dataset, self.as_json = folder, dataset, as_json
        self.total = int(folder.hyperparameters["evaluations"])
        self.metrics = list(folder.workload().objectives)
        self.live = sys.stdout.isatty() and not as_json
        self.began, self.before = time.monotonic(), 0

    def begin(self, done: int) -> None:
        """Say what is trained and where it goes."""
        self.before = done
        if not self.as_json:
            set_to = self.folder.hyperparameters
            what = ", ".join(f"{name} {set_to[name]}" for name in SHOWN if name in set_to)
            click.echo(f"{self.folder.kind} on {self.dataset.name}" + (f": {what}" if what else ""))
            where = f"in {shown(self.folder.path)}"
            click.echo(f"data: {self.dataset.source}")
            click.echo(f"{where}, going on from evaluation {done} of {self.total}" if done else where)
        self._hint(done)

    def evaluation(self, progress: Progress) -> None:
        """Show one evaluation."""
        if self.as_json:
            click.echo(json.dumps({"event": "evaluation", **asdict(progress)}))
            return
        measured = progress.metrics
        figures = [
            f"{name} {measured[name]:.4f}" for name in (*self.metrics[:IN_A_LINE], "train_loss") if name in measured
        ]
        if "sequence_steps_per_second" in measured:
            figures.append(f"{measured['sequence_steps_per_second']:,.0f} steps/s")
        done = progress.evaluation + 1
        self._clear()
        width = len(f"{self.folder.hyperparameters['sequence_steps']:,}")
        position = f"{done:>{len(str(self.total))}}/{self.total}"
        click.echo("  ".join([position, f"{progress.sequence_steps:>{width},} steps", *figures]))
        self._hint(done)

    def _hint(self, done: int) -> None:
        if not self.live or done >= self.total:
            return
        took = time.monotonic() - self.began
        left = ""
        if done > self.before:
            seconds = round(took / (done - self.before) * (self.total - done))
            left = f", about {seconds // 60}:{seconds % 60:02} left"
        click.echo(f"training to evaluation {done + 1} of {self.total}{left} ...", nl=False)

    def _clear(self) -> None:
        if self.live:
            click.echo("\r\x1b[K", nl=False)

    def position(self, evaluations: Sequence[Progress]) -> str:
        """Say how far training has come."""
        self._clear()
        return f"evaluation {len(evaluations)} of {self.total}"

    def end(self, evaluations: list[Progress]) -> None:
        """Show the best evaluation beside the baselines, and how to use the model."""
        best = self.folder.best(evaluations)
        if best is None:
            raise RuntimeError("a run that came to its end was evaluated")
        checkpoint = self.folder.checkpoint(best)
        if self.as_json:
            self._end_json(best, evaluations[-1])
            return
        click.echo(f"\nbest: evaluation {best.evaluation + 1} of {self.total}")
        others = [name for name in best.metrics if name.startswith(("valid_", "test_")) and "/" not in name]
        for name in dict.fromkeys([*self.metrics, *sorted(others, key=lambda name: not name.startswith("valid_"))]):
            if name in best.metrics:
                click.echo(f"  {name:<26}{figure(best.metrics[name]):>10}{self._baselines(name)}")
        for sentence in self._losses(best):
            click.echo(sentence)
        use = f"bptt predict {shlex.quote(str(shown(checkpoint)))}"
        example = self.folder.predictor(checkpoint).example()[0]
        flag = prompt_flag(list(example), list(zip(*example.values(), strict=False)))
        click.echo(f"checkpoint: {shown(checkpoint)}\nuse it:     {use}{f' {flag}' if flag else ''}")

    def _baselines(self, metric: str) -> str:
        named = ((*name.partition("/"), value) for name, value in self.dataset.baselines.items())
        return "".join(f"   {baseline} {figure(value)}" for baseline, _, of, value in named if of == metric)

    def _losses(self, best: Progress) -> list[str]:
        objectives = dict(self.folder.workload().objectives)
        return losses(compare(self.dataset.baselines, best.metrics, objectives), "The model")

    def _end_json(self, best: Progress, last: Progress) -> None:
        summary = {
            "event": "finished",
            "best": asdict(best),
            "last": asdict(last),
            "baselines": dict(self.dataset.baselines),
            "losses": self._losses(best),
            "folder": str(self.folder.path),
            "checkpoint": str(self.folder.checkpoint(best)),
        }
        click.echo(json.dumps(summary))


def figure(value: float) -> str:
    """Return a metric to four decimals, or to four digits where that would say little."""
    return number(value) if 0 < abs(value) < 0.1 else f"{value:.4f}"
