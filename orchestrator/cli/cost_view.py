"""What `bptt validate --cost` says: the memory and the time of a sweep's trials, predicted on this machine."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.cost import REMEMBERED, Expectation, expect, extremes, sizes_of, tops
from orchestrator.errors import UserError
from orchestrator.executors.measuring import measure_as_in_a_worker
from orchestrator.machine import Machine, this_machine
from orchestrator.room import describe, gigabytes
from orchestrator.settings import Settings
from orchestrator.space import drawn
from orchestrator.spec import SweepSpec, trials_allowed
from orchestrator.wording import count, duration, setting
from workloads.heap import hold_tensors_apart
from workloads.protocol import Dataset, Params

DRAWN = 8
"""Settings drawn from the space that are timed, beside its largest ones."""
MOST_TOPS = 6
LONG_EVALUATION_S = 1.0
"""An evaluation that takes longer is timed once; that of other settings is taken to be alike."""


@dataclass(slots=True)
class Cost:
    """What a sweep will cost here."""

    expectation: Expectation
    machine: Machine
    at_once: int
    memory: tuple[float, float] | None = None
    """Bytes of the smallest and of the largest of the extreme settings."""
    too_large: list[Params] = field(default_factory=list)
    """Extreme settings that do not fit."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Of a trial: `least`, `mean` and `most` of the settings timed; and of the sweep: `sweep_mean`, `sweep_most`."""
    timed: int = 0

    def plain(self) -> dict[str, Any]:
        """Return plain values for scripts."""
        room = self.expectation.room
        return {
            "resources": self.expectation.resources.model_dump(),
            "trials_at_once": self.at_once,
            "memory_bytes": self.memory
            and {"least": self.memory[0], "most": self.memory[1], "allowed": room.memory_bytes},
            "too_large": [dict(params) for params in self.too_large],
            "seconds": self.seconds,
            "settings_timed": self.timed,
            "notes": self.expectation.notes,
        }


def cost_of(spec: SweepSpec, settings: Settings, *, show: Callable[[str], None]) -> Cost:
    """Read the data, measure cells and time settings on this machine; `show` is told what is under way."""
    workload = spec.load_workload()
    show("reading the data")
    try:
        dataset = workload.prepare()
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    machine = this_machine(settings.memory_gb)
    show("measuring cells")
    expectation = expect(
        spec,
        sizes_of(workload, dataset),
        machine,
        measure=measure_as_in_a_worker,
        remembered=settings.runs / REMEMBERED,
        always=True,
    )
    resources = expectation.resources
    fits = [machine.cpus / resources.cpus] + ([machine.gpus / resources.gpus] if resources.gpus else [])
    at_once = max(min(int(min(fits) + 1e-9), resources.workers or 10**9, trials_allowed(spec)), 1)
    cost = Cost(expectation, machine, at_once)
    needs = [(need, params) for params in extremes(spec) if (need := expectation.room.memory_of(params)) is not None]
    if needs:
        cost.memory = (min(need for need, _ in needs), max(need for need, _ in needs))
        cost.too_large = [params for _, params in needs if expectation.room.refuses(params)]
    if hasattr(workload, "begin"):
        time_settings(spec, cost, dataset, show=show)
    return cost


def time_settings(spec: SweepSpec, cost: Cost, dataset: Dataset, *, show: Callable[[str], None]) -> None:
    """Time the largest settings that fit, and some drawn from the space."""
    hold_tensors_apart()
    import torch

    from workloads.cost.timing import time_setting

    torch.set_num_threads(max(int(cost.expectation.resources.cpus), 1))
    workload: Any = spec.load_workload()
    room, draw = cost.expectation.room, random.Random(spec.search.seed)
    largest = sorted(tops(spec), key=lambda params: room.memory_of(params) or 0.0, reverse=True)
    asked = [spec.params(drawn(spec.space, draw)) for _ in range(DRAWN)]
    found: dict[bool, list[float]] = {True: [], False: []}
    evaluation_s: float | None = None
    fitting = [(True, params) for params in largest if not room.refuses(params)][:MOST_TOPS]
    fitting += [(False, params) for params in asked if not room.refuses(params)]
    for place, (is_top, params) in enumerate(fitting, start=1):
        show(f"timing setting {place} of {len(fitting)}")
        try:
            timing = time_setting(workload, params, dataset, evaluation_s=evaluation_s)
        except ValueError:  # a setting that cannot be trained ends at once, and so costs nothing
            continue
        if timing.evaluation_s > LONG_EVALUATION_S:
            evaluation_s = timing.evaluation_s
        found[is_top].append(timing.trial_s(spec.budget.sequence_steps, spec.budget.evaluations))
    both = found[True] + found[False]
    if both:
        usual = found[False] or both
        rounds = trials_allowed(spec) / cost.at_once
        mean, most = sum(usual) / len(usual), max(both)
        cost.timed = len(both)
        cost.seconds = {"least": min(both), "mean": mean, "most": most}
        cost.seconds |= {"sweep_mean": mean * rounds, "sweep_most": most * rounds}


def facts_of(spec: SweepSpec, cost: Cost) -> list[tuple[str, str]]:
    """Return the costs in words, labelled."""
    facts = []
    room, memory, seconds = cost.expectation.room, cost.memory, cost.seconds
    if spec.resources.is_auto:
        chosen = f"{describe(cost.expectation.resources)} for each trial, {count(cost.at_once, 'trial')} at once"
        facts.append(("auto", chosen))
    if memory is None:
        facts.append(
            ("memory", "; ".join(cost.expectation.notes) or "not predicted: this workload does not say its sizes")
        )
    else:
        text = (
            f"{gigabytes(memory[0])} to {gigabytes(memory[1])} for each trial; {gigabytes(room.memory_bytes)} allowed"
        )
        facts.append(("memory", f"{text} on {room.what}, for all at once"))
    if cost.too_large:
        swept = {name: value for name, value in cost.too_large[0].items() if name in spec.space}
        needed = gigabytes(room.memory_of(cost.too_large[0]) or 0.0)
        text = f"{count(len(cost.too_large), 'extreme setting')} of the space, such as {setting(swept)} ({needed})"
        facts.append(("does not fit", f"{text}; such trials are told out of memory and not started"))
    if seconds:
        facts += [
            ("time", f"{duration(seconds['least'])} to {duration(seconds['most'])} for each trial here, unpruned"),
            ("", f"about {duration(seconds['sweep_mean'])} for all, {duration(seconds['sweep_most'])} at most"),
            ("", f"{count(cost.timed, 'setting')} timed, {count(cost.at_once, 'trial')} at once"),
        ]
    else:
        facts.append(("time", "not predicted: this workload does not say what its training begins with"))
    return facts
