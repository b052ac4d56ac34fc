"""The command that trains the winner again, and comes to the same."""

from __future__ import annotations

import json
import math
import shlex
from typing import Any

import yaml

from orchestrator.report.html.story import Story
from orchestrator.sweep_file import StrictLoader
from orchestrator.wording import in_view_order


def training_command(story: Story) -> str | None:
    """Return `bptt train ...` with the winner's whole setting; None before a trial is complete.

    Its evaluations equal the trial's to the last bit on the same kind of CPU with the same versions, since one setting
    with one seed on so many threads is one training.
    """
    best = story.seen.best
    if best is None:
        return None
    workload = story.seen.spec.workload
    given = {**workload.options, **{name: best.params[name] for name in in_view_order(best.params)}}
    parts = [f"bptt train {shlex.quote(workload.kind)} --threads {threads_of(story)}"]
    parts += [f"--set {shlex.quote(f'{name}={written(value)}')}" for name, value in given.items()]
    return " \\\n  ".join(parts)


def threads_of(story: Story) -> int:
    """Return the CPU threads that a trial was trained on, as the workers choose them."""
    cpus: float = story.environment.get("cpus", story.seen.spec.resources.cpus)
    return max(math.floor(cpus), 1)


def written(value: Any) -> str:
    """Return a value as `--set` reads it back."""
    if isinstance(value, str):
        try:
            if yaml.load(value, StrictLoader) == value:
                return value
        except (yaml.YAMLError, ValueError):
            pass
    return json.dumps(value, ensure_ascii=False)
