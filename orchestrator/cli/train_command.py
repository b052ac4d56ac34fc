"""`bptt train`: one setting of the hyperparameters, trained in this process. No sweep, no Ray, no tracking."""

from __future__ import annotations

import math
import os
import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from orchestrator.cli.assignments import split_assignments
from orchestrator.cli.options import as_json, with_settings
from orchestrator.cli.train_setting import check, prepare, read_setting, refuse
from orchestrator.cli.train_view import TrainView
from orchestrator.cli.trained import TrainedFolder, shown
from orchestrator.errors import BpttError, Interrupted, UserError
from orchestrator.settings import Settings
from orchestrator.trial import Failure, TrialState
from orchestrator.worker import explain
from workloads.heap import hold_tensors_apart
from workloads.protocol import Dataset, Diverged, Progress, UnusableCheckpoint, Workload

EPILOG = """\b
Examples:
  bptt train language_model                              the Python reference, with the defaults
  bptt train language_model --set text=book.txt --set hidden_size=256 --set sequence_steps=5e6
  bptt train memory --set lag=20 --set truncation_length=32 --json
  bptt train language_model --out shakespeare --resume   go on where it stopped

--set takes the workload's options and the hyperparameters (`bptt init WORKLOAD` lists both). A run goes on after
Ctrl-C or a crash from its last evaluation.
"""


@click.command("train", epilog=EPILOG, short_help="Train one setting, without a sweep.")
@click.argument("workload", metavar="WORKLOAD")
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="An option or a hyperparameter; repeatable.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Where it goes.  [default: under RUNS]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: one for each core]")
@as_json
@with_settings
def command(
    settings: Settings,
    workload: str,
    *,
    given: tuple[str, ...],
    out: Path | None,
    resume: bool,
    threads: int | None,
    as_json: bool,
) -> None:
    """Train WORKLOAD once, and show every evaluation.

    WORKLOAD is language_model, forecast, speech, translation, memory, or module:Name for one of your own.
    """
    if not resume:
        folder, loaded, dataset = begun(settings, workload, given, out)
    elif out is None:
        raise UserError("--resume: which run? give its folder with --out")
    else:
        folder, loaded, dataset = resumed(out, workload, given)
    with folder.held():
        train(folder, loaded, dataset, threads=threads, view=TrainView(folder, dataset, as_json=as_json))


def begun(
    settings: Settings, kind: str, given: Sequence[str], out: Path | None
) -> tuple[TrainedFolder, Workload, Dataset]:
    """Check what was asked for, load the data, and begin a folder."""
    setting = read_setting(kind, given)
    loaded = check(setting)
    dataset = prepare(loaded)
    folder = TrainedFolder.create(
        out or new_folder(settings, kind),
        kind,
        options=setting.options,
        hyperparameters=setting.hyperparameters,
        dataset=dataset,
    )
    return folder, loaded, dataset


def resumed(out: Path, kind: str, given: Sequence[str]) -> tuple[TrainedFolder, Workload, Dataset]:
    """Take up the run in `out`; UserError where something else is asked for than what it began as."""
    folder = TrainedFolder.open(out)
    if folder.kind != kind:
        raise UserError(f"WORKLOAD: {kind}; the run in {out} trains {folder.kind}")
    known = {**folder.options, **folder.hyperparameters}
    again = read_setting(kind, given)
    asked = {**again.options, **again.hyperparameters}
    for name in split_assignments(given):
        if asked[name] != known.get(name):
            raise UserError(
                f"--set {name}: {asked[name]}; the run in {out} has {known.get(name)} and goes on with that"
            )
    loaded = folder.workload()
    dataset = prepare(loaded)
    if dataset.fingerprint != folder.fingerprint:
        raise UserError(
            f"the data have changed since the run in {out} began (fingerprint {folder.fingerprint}, now "
            f"{dataset.fingerprint}); restore them, or begin another run"
        )
    return folder, loaded, dataset


def new_folder(settings: Settings, kind: str) -> Path:
    """Return a folder that is not there yet, named for the workload and the time."""
    name = f"{kind.rpartition(':')[2]}-{time.strftime('%Y%m%d-%H%M%S')}"
    base = settings.runs / "train"
    taken = {path.name for path in base.glob(f"{name}*")}
    return base / next(tried for tried in (name, *(f"{name}-{n}" for n in range(2, 1000))) if tried not in taken)


def train(folder: TrainedFolder, workload: Workload, dataset: Dataset, *, threads: int | None, view: TrainView) -> None:
    """Train to the end of the budget, showing and writing down every evaluation."""
    hold_tensors_apart()
    import torch

    torch.set_num_threads(threads or cores())
    evaluations = folder.begin()
    resume_from = folder.uri(evaluations[-1]) if evaluations else None
    view.begin(len(evaluations))
    try:
        with interruptible():
            for progress in workload.train(folder.hyperparameters, dataset, folder.storage, resume_from):
                check_metrics(progress, view.metrics)
                evaluations.append(progress)
                folder.record(evaluations)
                view.evaluation(progress)
    except KeyboardInterrupt as error:
        again = f"bptt train {shlex.quote(folder.kind)} --out {shlex.quote(str(shown(folder.path)))} --resume"
        raise Interrupted(f"interrupted after {view.position(evaluations)}; go on with: {again}") from error
    except UnusableCheckpoint as error:
        best = f"`bptt predict {shlex.quote(str(shown(folder.path)))}` uses the best one if that is whole"
        raise BpttError(f"{error}; training cannot go on from it: begin another run ({best})") from error
    except Diverged as error:
        raise BpttError(f"diverged: {error}; a lower learning_rate or max_grad_norm may help") from error
    except (RuntimeError, MemoryError) as error:
        failure = explain(error)
        if isinstance(failure, Failure) and failure.state is TrialState.OUT_OF_MEMORY:
            raise BpttError(f"out of memory: {error}; a smaller batch_size or truncation_length may help") from error
        raise
    except ValueError as error:
        if str(error).startswith(("train.", "workload.", "budget.")):
            refuse(error)
        raise
    view.end(evaluations)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, and Ctrl-C also where a shell has the command in the background."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_metrics(progress: Progress, metrics: Sequence[str]) -> None:
    """Raise Diverged where what is to be made best is no number."""
    for name in metrics:
        if not math.isfinite(progress.metrics.get(name, 0.0)):
            raise Diverged(f"{name} is {progress.metrics[name]} after {progress.sequence_steps} sequence steps")


def cores() -> int:
    """Return the CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
