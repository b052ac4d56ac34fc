"""`bptt horizon`: how far back gradients travel in a trained model, and which truncation length that advises."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import as_json, existing_ledger, find_sweep, with_settings
from orchestrator.cli.terminal import print_page
from orchestrator.cli.trained import MODEL, TrainedFolder
from orchestrator.errors import UserError
from orchestrator.horizon import GradientHorizon, blocks, draw, number_or_dash, read_horizon, share
from orchestrator.pages import Block, Heading, Paragraph, Table
from orchestrator.settings import Settings
from workloads.hyperparameters import truncation_length_of

EPILOG = """\b
Examples:
  bptt horizon demo                       the best trial of a sweep, and all others in a table
  bptt horizon demo --trial 3             one trial, as it stands
  bptt horizon bptt-runs/train/memory-1   a run of `bptt train`
  bptt horizon demo -o horizon.png        the figure (PNG, SVG or PDF)

Training measures again and again how the gradient of the loss at a step (in speech and translation: of what the encoder
puts out at its end) with respect to the state k steps before falls with k, and how much of the gradient of the
parameters that it travels through a truncation at k would lose: its bias. All that was measured so far is summed up.
"""


@click.command("horizon", epilog=EPILOG, short_help="Show how far back gradients travel.")
@click.argument("target", metavar="SWEEP|FOLDER")
@click.option("--trial", type=click.IntRange(min=0), metavar="NUMBER", help="Of a sweep.  [default: the best]")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Draw the curves there.")
@as_json
@with_settings
def command(settings: Settings, target: str, *, trial: int | None, output: Path | None, as_json: bool) -> None:
    """Show the gradient horizon of SWEEP's best trial, or of the run of `bptt train` in FOLDER."""
    found = of_folder(Path(target), trial) if (Path(target) / MODEL).is_file() else of_sweep(settings, target, trial)
    name, shown, others = found
    if output is not None:
        save({name: shown, **others} if trial is None else {name: shown}, output)
    if as_json:
        click.echo(json.dumps({"of": name, **shown.plain(), "trials": {n: h.plain() for n, h in others.items()}}))
        return
    page: list[Block] = [Heading(f"Gradient horizon of {name}"), *blocks(shown)]
    if others:
        page += [Heading("By trial"), by_trial({name: shown, **others})]
    if output is not None:
        page.append(Paragraph(f"Drawn in {output}."))
    print_page(page)


Found = tuple[str, GradientHorizon, dict[str, GradientHorizon]]
"""A name, what is shown in full, and what is shown beside it."""


def of_folder(folder: Path, trial: int | None) -> Found:
    """Return the horizon at the best evaluation of a run of `bptt train`; UserError where there is none."""
    if trial is not None:
        raise UserError(f"--trial: {trial}; {folder} holds one run of `bptt train`, which has no trials")
    run = TrainedFolder.open(folder)
    best = run.best(run.evaluations())
    if best is None:
        raise UserError(f"{folder} has no evaluation yet; go on with `bptt train --resume`")
    return str(folder), needed(best.metrics, run.hyperparameters, str(folder)), {}


def of_sweep(settings: Settings, target: str, number: int | None) -> Found:
    """Return a trial's horizon, and those of the others where none was asked for; UserError where there is none."""
    from orchestrator.standing import standing

    ledger = existing_ledger(settings)
    seen = standing(ledger, find_sweep(ledger, target))
    measured = [trial for trial in seen.trials if trial.last is not None]
    if number is None:
        chosen = seen.best or max(measured, key=lambda trial: len(trial.evaluations), default=None)
    else:
        chosen = next((trial for trial in measured if trial.number == number), None)
    if chosen is None or chosen.last is None:
        which = "no trial" if number is None else f"no trial {number}"
        raise UserError(f"{seen.row.name} has {which} with an evaluation yet; see `bptt status {seen.row.name}`")
    shown = needed(chosen.last.metrics, chosen.params, f"trial {chosen.number} of {seen.row.name}")
    others = {}
    if number is None:
        for trial in measured:
            horizon = read_horizon(trial.last.metrics, truncation_length_of(trial.params)) if trial.last else None
            if horizon is not None and trial is not chosen:
                others[f"trial {trial.number}"] = horizon
    return f"trial {chosen.number}" if others else f"trial {chosen.number} of {seen.row.name}", shown, others


def needed(metrics: Mapping[str, float], params: Mapping[str, Any], name: str) -> GradientHorizon:
    """Return the horizon in metrics; UserError where there is none."""
    found = read_horizon(metrics, truncation_length_of(params))
    if found is None:
        raise UserError(f"{name} has no horizon: its workload measures none, or no gradient travelled at all")
    return found


def by_trial(found: Mapping[str, GradientHorizon]) -> Table:
    """Return a row for each trial."""
    rows = [
        (
            name.removeprefix("trial "),
            number_or_dash(each.truncation_length),
            "-" if each.bias is None else share(each.bias),
            number_or_dash(each.advised),
            number_or_dash(each.reach),
            f"{each.decay:.3g}",
        )
        for name, each in sorted(found.items(), key=lambda item: int(item[0].split()[1]))
    ]
    return Table(("trial", "its length", "its bias", "advised", "below 1 % after", "decay per step"), rows)


def save(found: Mapping[str, GradientHorizon], output: Path) -> None:
    """Draw into a file; UserError where it cannot be written or its ending names no format."""
    try:
        draw(found).savefig(output, dpi=150, format=output.suffix.removeprefix(".") or "png")
    except OSError as error:
        raise UserError(f"--output: {output} cannot be written: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"--output: {output}: {str(error).splitlines()[0]}") from error
