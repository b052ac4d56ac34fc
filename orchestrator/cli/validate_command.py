"""`bptt validate`: what a sweep file would run, before it runs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import click

from orchestrator.cli.options import as_json, with_settings
from orchestrator.cli.terminal import print_page
from orchestrator.machine import cpus_here, gpus_here
from orchestrator.pages import Block, Facts, Heading, Paragraph
from orchestrator.settings import Settings
from orchestrator.space import in_order
from orchestrator.spec import FROM_BUDGET, SweepSpec, grid_size, trials_allowed
from orchestrator.sweep_file import find_spec
from orchestrator.wording import count, in_view_order, value_of
from workloads.hyperparameters import Hyperparameters

EPILOG = """\b
Examples:
  bptt validate sweep.yaml
  bptt validate sweep.yaml --json    the whole sweep, defaults written out
  bptt validate sweep.yaml --cost    the memory and time of its trials, and what does not fit

The data are not read; everything else is checked, with every extreme of the space. With --cost they are: it takes
seconds, and what it measures of this machine is remembered in the runs folder.
"""


@click.command("validate", epilog=EPILOG, short_help="Check a sweep file and show what it would run.")
@click.argument("sweep", metavar="SWEEP")
@click.option("--cost", is_flag=True, help="Predict memory and time: reads the data and measures on this machine.")
@as_json
@with_settings
def command(settings: Settings, sweep: str, *, cost: bool, as_json: bool) -> None:
    """Check SWEEP, a sweep file or the name of a bundled sweep, and show what it would run."""
    spec = find_spec(sweep)
    plain, costs = spec.plain(), list[tuple[str, str]]()
    if cost:
        from orchestrator.cli.cost_view import cost_of, facts_of

        found = cost_of(spec, settings, show=lambda doing: click.echo(f"{spec.name}: {doing}", err=True))
        plain, costs = {**plain, "cost": found.plain()}, facts_of(spec, found)
    if as_json:
        click.echo(json.dumps(plain))
        return
    print_page(page_of(spec, sweep, cpus=cpus_here(), gpus=gpus_here(), costs=costs))


def page_of(
    spec: SweepSpec, source: str, *, cpus: int, gpus: int, costs: Sequence[tuple[str, str]] = ()
) -> list[Block]:
    """Return what the sweep will run on a machine of so many CPUs and GPUs, and what was found of its costs."""
    space = [f"{name}: {spec.space[name].describe()}" for name in in_view_order(in_order(spec.space))]
    facts = [
        ("workload", f"{spec.workload.kind}: {settings(spec.workload.options) or 'nothing of its own set'}"),
        ("by default", settings(default_options(spec))),
        *zip(["space", *[""] * len(space)], space, strict=False),
        ("train", settings(spec.train) or "nothing set"),
        ("by default", settings(default_hyperparameters(spec))),
        ("objective", objective(spec)),
        ("budget", budget(spec)),
        ("search", search(spec)),
        ("resources", resources(spec, cpus=cpus, gpus=gpus)),
        *costs,
    ]
    return [
        Heading(f"{spec.name}: a sweep of {spec.workload.kind}"),
        Facts([(label, text) for label, text in facts if text]),
        Paragraph(f"{source} is right; run it with `bptt run {source}`."),
    ]


def default_options(spec: SweepSpec) -> dict[str, Any]:
    """Return the workload's options that the sweep file leaves out."""
    workload: Any = spec.load_workload()
    names = [field.name for field in dataclasses.fields(workload) if field.name not in spec.workload.options]
    return {name: getattr(workload, name) for name in names}


def default_hyperparameters(spec: SweepSpec) -> dict[str, Any]:
    """Return the hyperparameters that the sweep file leaves out."""
    given = {*spec.space, *spec.train, *FROM_BUDGET}
    return {field.name: field.default for field in dataclasses.fields(Hyperparameters) if field.name not in given}


def settings(values: Mapping[str, Any]) -> str:
    """Return names and values on one line, in the order given."""
    return ", ".join(f"{name} {value_of(value)}" for name, value in values.items())


def objective(spec: SweepSpec) -> str:
    """Return what is made best, and what it must not cost."""
    cost = {"seconds": ", and seconds of training", "memory": ", and peak memory", None: ""}[spec.objective.cost]
    return f"{spec.objective.direction} {spec.objective.metric}{cost}"


def budget(spec: SweepSpec) -> str:
    """Return what the whole sweep uses up at most."""
    trials, steps = trials_allowed(spec), spec.budget.sequence_steps
    hours = "no limit of time" if spec.budget.hours is None else f"at most {spec.budget.hours:g} hours"
    return (
        f"{count(trials, 'trial')} of {steps:,} sequence steps, {trials * steps:,} in all; "
        f"{count(spec.budget.evaluations, 'evaluation')} each; {hours}"
    )


def search(spec: SweepSpec) -> str:
    """Return how the space is searched."""
    text = f"sampler {spec.search.sampler}, pruner {spec.search.pruner}, seed {spec.search.seed}"
    if spec.search.sampler != "grid":
        return text
    size, tried = grid_size(spec), trials_allowed(spec)
    part = "all tried" if tried == size else f"{tried:,} of them tried"
    return f"{text}; the grid has {count(size, 'setting')}, {part}"


def resources(spec: SweepSpec, *, cpus: int, gpus: int) -> str:
    """Return what each trial takes, and how many there is room for here."""
    wanted = spec.resources
    if wanted.is_auto:
        return "auto: chosen by what trials are predicted to take; --cost says what"
    text = f"{wanted.cpus:g} CPU{f' and {wanted.gpus:g} GPU' if wanted.gpus else ''} for each trial; "
    if wanted.custom or wanted.accelerator:
        needed = [*([wanted.accelerator] if wanted.accelerator else []), *wanted.custom]
        return f"{text}only on nodes of a cluster (--address) that have {', '.join(needed)}"
    room = [cpus / wanted.cpus] + ([gpus / wanted.gpus] if wanted.gpus else [])
    fitting = min(math.floor(min(room) + 1e-9), wanted.workers or 10**9, trials_allowed(spec))
    machine = f"this machine ({count(cpus, 'CPU')}, {count(gpus, 'GPU')})"
    if fitting == 0:
        return f"{text}more than {machine} has; it needs a cluster (--address)"
    return f"{text}{count(fitting, 'trial')} at once on {machine}"
