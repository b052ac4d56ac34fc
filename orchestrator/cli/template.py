"""A commented sweep file for a workload, made from the declarations of its options so that it never goes stale."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

import workloads
from orchestrator.errors import UserError
from orchestrator.spec import PRUNERS, SAMPLERS, Budget, Resources, Search
from workloads.hyperparameters import Hyperparameters
from workloads.options import describe_allowed, is_import_path

COMMENT_COLUMN = 36

SPACE = {
    "cell_type": "[rnn, gru, lstm]",
    "truncation_length": "{int: [8, 256], log: true}",
    "hidden_size": "{int: [32, 256], log: true}",
    "learning_rate": "{float: [1.0e-3, 1.0e-2], log: true}",
}
SPACES = {
    "forecast": {**SPACE, "truncation_length": "{int: [4, 64], log: true}", "hidden_size": "{int: [8, 64], log: true}"},
    "memory": {**SPACE, "truncation_length": "[4, 8, 16, 32, 64]", "hidden_size": "{int: [16, 64], log: true}"},
}
TRAIN = {"batch_size": 32}
TRAINS = {"forecast": {"batch_size": 8}, "speech": {"batch_size": 16, "bidirectional": True}}
BUDGET = {"trials": 20, "sequence_steps": 1_000_000, "evaluations": 10}
BUDGETS = {
    "forecast": {"sequence_steps": 300_000},
    "memory": {"sequence_steps": 500_000},
    "speech": {"sequence_steps": 300_000, "evaluations": 6},
}
"""Where a workload trains well with other ranges than the rest."""

EXAMPLES = """\
  # A number or a choice from train: below can be swept instead, once it is not in train: any more:
  # dropout: {float: [0.0, 0.5], step: 0.1}
  # num_layers: {int: [1, 3]}
  # max_grad_norm: {float: [0.1, 10.0], log: true, when: {cell_type: [rnn]}}   # only for some cells
"""
HELP = {
    "trials": "settings to try; `bptt extend` adds more",
    "sequence_steps": "what each trial consumes (tokens, time points, frames), all streams of the batch counted",
    "evaluations": "points at which all trials are compared, and checkpointed, evenly spaced",
    "hours": "stop after so long, all runs of the sweep counted; null: no limit",
    "sampler": f"one of {', '.join(SAMPLERS)}",
    "pruner": f"ends trials that lag behind, or (promotions, curves) pauses them; one of {', '.join(PRUNERS)}",
    "seed": "of the sampler; seed in train: is that of the weights",
    "from": "sweeps on the same data whose best settings are tried first, five at most",
    "cpus": "CPUs for each trial; a part of one is allowed",
    "gpus": "GPUs for each trial; 0.25 lets four trials share one",
    "memory_gb": "memory for each trial's process, itself included; above it, it ends as out of memory; null: no limit",
    "custom": "resources of a Ray cluster's nodes by name, for each trial: {fast_disk: 1}",
    "accelerator": "only nodes with this accelerator, as Ray names it: A100; null: any",
    "placement": "pack fills up one node of a cluster after another, spread uses all evenly",
    "workers": "trials at once, at most; a cluster is asked for so many, to grow if it can; null: as many as fit",
}


def sweep_template(kind: str) -> str:
    """Return a sweep file for the workload `kind`: a small active part, everything else in comments.

    Raises UserError where there is no such workload.
    """
    cls = workload_class(kind)
    name = kind.rpartition(":")[2].replace("_", "-")
    space, fixed = SPACES.get(kind, SPACE), {**TRAIN, **TRAINS.get(kind, {})}
    objectives = objectives_of(kind)
    return "\n".join(
        [
            f"# A sweep over {', '.join(SPACE)}.",
            "# Check it with `bptt validate FILE`, run it with `bptt run FILE`; run it again to go on after a stop.",
            "# Lines in comments show the defaults.",
            "",
            line("name", name, "what the sweep is called from now on: letters, digits, - and _"),
            "",
            "workload:",
            line("kind", kind, indent=1),
            *option_lines(cls, {}, skipped=set()),
            "",
            "space:",
            *(line(key, value, comment_on(Hyperparameters, key), plain=True, indent=1) for key, value in space.items()),
            EXAMPLES.rstrip(),
            "",
            "train:",
            *option_lines(Hyperparameters, fixed, skipped={*space, "sequence_steps", "evaluations"}),
            "",
            "objective:",
            line("metric", next(iter(objectives)), f"one of {', '.join(objectives)}", indent=1),
            line("cost", None, "seconds or memory: search for the best at each cost", active=False, indent=1),
            "",
            "budget:",
            *block_lines(Budget, {**BUDGET, **BUDGETS.get(kind, {})}),
            "",
            "search:",
            *block_lines(Search, {"sampler": "tpe", "pruner": "median"}),
            "",
            "# `resources: auto`, on one line, in place of this block: chosen by what trials are predicted to take.",
            "resources:",
            *block_lines(Resources, {"cpus": 1}),
            "",
        ]
    )


def workload_class(kind: str) -> type:
    """Return the dataclass of a workload's options; UserError where there is none."""
    path = workloads.KINDS.get(kind, kind)
    if not is_import_path(path):
        raise UserError(f"WORKLOAD: {kind!r}; allowed: {', '.join(workloads.KINDS)}, or module:Name for your own")
    try:
        cls = workloads.import_name(path, "WORKLOAD")
    except ValueError as error:
        raise UserError(str(error)) from error
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise UserError(f"WORKLOAD: {kind} is not a dataclass of options")
    return cls


def objectives_of(kind: str) -> Mapping[str, str]:
    """Return what the workload can aim at when its options are left as they are; UserError where that cannot be."""
    try:
        return workloads.load(kind, {}).objectives
    except ValueError as error:
        raise UserError(f"{kind} has no default for everything ({error}); write its sweep file by hand") from error


def option_lines(cls: type, active: Mapping[str, Any], *, skipped: set[str]) -> Iterator[str]:
    """Return a line for each option: value, help and what is allowed."""
    for field in dataclasses.fields(cls):
        if field.name not in skipped:
            value = active.get(field.name, field.default)
            yield line(field.name, value, comment_on(cls, field.name), active=field.name in active, indent=1)


def comment_on(cls: type, name: str) -> str:
    """Return an option's help and what it allows."""
    (field,) = (field for field in dataclasses.fields(cls) if field.name == name)
    return f"{field.metadata.get('help', '')} ({describe_allowed(cls, name)})".strip()


def block_lines(model: type[Budget | Search | Resources], active: Mapping[str, Any]) -> Iterator[str]:
    """Return a line for each field of a block of the sweep file."""
    for given, field in model.model_fields.items():
        name = field.alias or given
        default = field.get_default(call_default_factory=True)
        yield line(name, active.get(name, default), HELP[name], active=name in active, indent=1)


def line(name: str, value: Any, comment: str = "", *, active: bool = True, indent: int = 0, plain: bool = False) -> str:
    """Return `name: value  # comment`, all of it in a comment where it is not active."""
    text = f"{'  ' * indent}{'' if active else '# '}{name}: {value if plain else scalar(value)}"
    return f"{text + ' ':<{COMMENT_COLUMN}}# {comment}" if comment else text


def scalar(value: Any) -> str:
    """Return a value as YAML, on one line."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000:
        return f"{value:_}"
    dumped = yaml.safe_dump(list(value) if isinstance(value, tuple) else value, default_flow_style=True, width=1000)
    return dumped.removesuffix("...\n").strip()
