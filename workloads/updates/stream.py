"""Updates from windows of a carried stream, placed by the truncation scheme."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workloads.bptt.full import StepBytes
from workloads.bptt.graph_bytes import step_bytes
from workloads.bptt.horizon import Horizon, together
from workloads.bptt.horizon_measurement import measure_horizon
from workloads.bptt.schemes import make_truncation
from workloads.bptt.state import State, map_state
from workloads.bptt.truncation import Reach
from workloads.bptt.windows import BoundaryStates, Window, backpropagate
from workloads.device import to_device
from workloads.horizon_window import WARM_UP_STEPS, horizon_steps, horizon_streams
from workloads.hyperparameters import Hyperparameters, check_grid
from workloads.updates.base import StreamTask, Update


class StreamUpdates:
    """Windows of carried streams, placed by the truncation scheme."""

    def __init__(self, task: StreamTask, h: Hyperparameters, device: torch.device) -> None:
        self.task, self.h, self.device, self.epoch = task, h, device, 0
        check_grid(h, task.training.length)
        self.truncation = make_truncation(h)
        self.boundaries = BoundaryStates(self.truncation.longest_context)
        self.terms = self.steps = 0

    def next(self) -> Update:
        """Run the next window and its context."""
        stream = self.task.training
        new = self.boundaries.position
        self.truncation.begin(self.epoch, new)
        self.truncation.measure(self._step_bytes)
        reach = self.truncation.reach(stream.length - new)
        first, begin, state = self.boundaries.begin(reach.back - reach.new)
        stop = new + reach.new
        inputs, targets = self._window(first, stop)
        window = Window(
            inputs,
            targets[new - first :],
            skip=begin - first,
            context=new - begin,
            chunks=reach.chunks,
            divisor=self._divisor(reach),
        )
        step = backpropagate(self.task.network, self.task.loss, window, state)
        self.boundaries.advance(stop, step.state)
        self.terms, self.steps = self.terms + step.terms, self.steps + reach.new
        chance = self.task.chance_loss(window.targets) if step.terms else 0.0
        if stop == stream.length:
            self.epoch += 1
            self.boundaries.clear()
        consumed = (stop - new) * stream.batch_size
        return Update(step.loss, step.terms, consumed, chance, reach.learning_rate_factor)

    def _divisor(self, reach: Reach) -> float | None:
        """Return the terms of a usual window, by what all windows so far had a step; None before there were any."""
        if reach.usual is None or not self.terms:
            return None
        return reach.usual * self.terms / self.steps

    def _step_bytes(self) -> StepBytes:
        stream = self.task.training
        inputs, _ = self._window(0, stream.length)
        return step_bytes(self.task.network, self._with_loss, inputs, batch_size=stream.batch_size)

    def _with_loss(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the network and sum up its outputs: a loss keeps as much as that, or a little more."""
        outputs, state = self.task.network(inputs, state)
        return outputs.square().sum()[None], state

    def _window(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self.task.training.window(self.epoch, start, stop)
        return to_device(inputs, self.device), to_device(targets, self.device)

    def position(self) -> dict[str, Any]:
        """Return epoch and boundary states."""
        return {
            "epoch": self.epoch,
            "boundaries": self.boundaries.boundaries,
            "truncation": self.truncation.position(),
            "counters": [self.terms, self.steps],
        }

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Go on behind the boundary reached."""
        self.epoch = position["epoch"]
        self.boundaries.boundaries = [
            (step, map_state(lambda tensor: tensor.to(self.device), state)) for step, state in position["boundaries"]
        ]
        self.truncation.go_to(position["truncation"])
        self.terms, self.steps = position["counters"]

    def look(self, horizon: Horizon) -> None:
        """Let the truncation scheme learn from a horizon."""
        self.truncation.look(horizon)

    def horizon(self, look: int = 0) -> Horizon | None:
        """Measure at the end of the stream and, where that is cheap, at a place drawn by `look`."""
        length = self.task.training.length
        steps, streams, count = self._horizon_size()
        places = [length]
        if count > 1:
            places.append(int(np.random.default_rng([self.h.seed, look]).integers(steps, length + 1)))
        found = [self._horizon_before(stop, steps, streams) for stop in dict.fromkeys(places)]
        measured = [horizon for horizon in found if horizon is not None]
        return together(measured) if measured else None

    def horizon_reads(self) -> int:
        """Return the steps of all streams and places, those before the windows too."""
        steps, streams, count = self._horizon_size()
        return (steps + WARM_UP_STEPS) * streams * count

    def _horizon_size(self) -> tuple[int, int, int]:
        """Return over how many steps, on how many streams and at how many places a horizon is measured."""
        steps = min(horizon_steps(self.h), self.task.training.length)
        return steps, *horizon_streams(self.h, steps=steps, looks=len(self.truncation.looks))

    def _horizon_before(self, stop: int, steps: int, streams: int) -> Horizon | None:
        start = max(stop - steps - WARM_UP_STEPS, 0)
        inputs, targets = (part[:, :streams] for part in self._window(start, stop))
        warm_up, network = stop - steps - start, self.task.network
        state: State = None
        if warm_up:
            with torch.no_grad():
                state = network(inputs[:warm_up], None)[1]  # outputs over a large vocabulary are let go of
        return measure_horizon(network, self.task.loss, inputs=inputs[warm_up:], targets=targets[warm_up:], state=state)
