"""Windows of a carried stream: the gradient of one, and the states from which the next can begin.

Williams and Peng (1990), "An efficient gradient-based algorithm for on-line training of recurrent
network trajectories", BPTT(h; h'), with h = truncation_length (k2) and h' = k1; the names k1 and k2
are Sutskever's (2013). How far each window reaches is for `workloads.bptt.truncation` to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from workloads.bptt.chunks import Chunks, run_chunks
from workloads.bptt.state import State, map_state


class Network(Protocol):
    """Anything that maps (inputs, state) to (outputs, state); inputs and outputs begin with time."""

    def __call__(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Run one window."""


Loss = Callable[[Any, Tensor], tuple[Tensor, int]]
"""Maps outputs and targets (time, batch, ...) to the summed loss and the number of terms in it."""


@dataclass(frozen=True, slots=True)
class Window:
    """The steps that one update looks at: `context` steps seen before, then the new ones.

    `skip` steps at the front only rebuild the state: they are run without a graph.
    """

    inputs: Tensor  # (skip + context + new, batch, ...)
    targets: Tensor  # (new, batch, ...)
    skip: int = 0
    context: int = 0
    chunks: Chunks | None = None
    """Where set, the new steps are run chunk by chunk; there is no context then."""
    divisor: float | None = None
    """What the gradient of the summed loss is divided by; None: the number of its terms."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one window gave: the mean loss over its terms (0 where it has none), and the state behind it."""

    loss: Tensor
    terms: int
    state: State


def backpropagate(network: Network, loss: Loss, window: Window, state: State) -> Step:
    """Run one window from `state` and add the gradient of its mean loss to the parameters' `.grad`.

    `state` is the state before the window's first step; it is a constant to the gradient, which therefore
    travels back at most context + new steps. The steps of the context are run again with the weights as they
    are now, so that the gradient is exact for one set of weights, which a kept graph of older steps would
    not be. The state returned is detached.
    """
    state = map_state(Tensor.detach, state)
    inputs = window.inputs
    if window.skip:
        with torch.no_grad():
            _, state = network(inputs[: window.skip], state)
        inputs = inputs[window.skip :]
    if window.chunks is not None:
        total, terms, state = _losses_by_chunk(network, loss, window, state)
    else:
        outputs, state = network(inputs, state)
        if window.context:  # a slice of everything would still cost a copy on the way back
            outputs = outputs[window.context :]
        total, terms = loss(outputs, window.targets)
    mean = total / max(terms, 1)
    if terms:
        (mean if window.divisor is None else total / window.divisor).backward()  # type: ignore[no-untyped-call]
    return Step(mean.detach(), terms, map_state(Tensor.detach, state))


def _losses_by_chunk(network: Network, loss: Loss, window: Window, state: State) -> tuple[Tensor, int, State]:
    """Return the summed loss, its terms and the state behind; outputs are let go of once their loss is known."""
    terms: dict[int, int] = {}

    def run(steps: Tensor, state: State) -> tuple[Tensor, State]:
        start, stop = int(steps[0]), int(steps[-1]) + 1
        outputs, state = network(window.inputs[start:stop], state)
        total, terms[start] = loss(outputs, window.targets[start:stop])
        return total[None], state

    steps = torch.arange(len(window.inputs), device=window.inputs.device)
    totals, state = run_chunks(run, steps, state, window.chunks)
    return totals.sum(), sum(terms.values()), state


class BoundaryStates:
    """The states at the last update boundaries, so that a window can begin up to `longest_context` steps back.

    Only as many are kept as windows can ask for: one where updates never overlap.
    """

    def __init__(self, longest_context: int) -> None:
        self.longest_context = longest_context
        self.clear()

    def clear(self) -> None:
        """Begin a new sequence: the state before step 0 is None."""
        self.boundaries: list[tuple[int, State]] = [(0, None)]

    @property
    def position(self) -> int:
        """Return the number of steps of the sequence read so far."""
        return self.boundaries[-1][0]

    def begin(self, context: int) -> tuple[int, int, State]:
        """Place the next window, which has `context` steps before its new ones, as far as the sequence has them.

        Returns (first, begin, state): run `first` to `begin` without a graph from `state`, and the window from there.
        """
        begin = max(self.position - min(context, self.longest_context), 0)
        first, state = next(entry for entry in reversed(self.boundaries) if entry[0] <= begin)
        return first, begin, state

    def advance(self, position: int, state: State) -> None:
        """Record the state behind step `position`, and drop those that no window will ask for."""
        self.boundaries.append((position, state))
        begin = max(position - self.longest_context, 0)
        while len(self.boundaries) > 1 and self.boundaries[1][0] <= begin:
            self.boundaries.pop(0)
