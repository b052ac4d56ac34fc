"""A sequence run in chunks: forward without a graph, then backward, each chunk run again with a graph of its own.

Only the states between chunks are kept, so that the memory is that of one chunk, however long the sequence
(checkpointing; Chen et al., 2016, "Training deep nets with sublinear memory cost"). Between two chunks the gradient is
passed on, multiplied or cut: that is all by which full, randomised and truncated backpropagation through time differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor

from workloads.bptt.snapshots import Snapshots
from workloads.bptt.state import State, map_state, state_tensors, watched

ChunkNetwork = Callable[[Tensor, State], tuple[Tensor, State]]
"""Runs steps (time, ...) from a state; returns the state behind them, and outputs, one or more rows for a chunk."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """How a sequence is cut up, and what becomes of a gradient on its way back."""

    bounds: Sequence[int]
    """Where chunks begin, from 0, and where the last one ends."""
    passes: Sequence[float]
    """What the state's gradient is multiplied by between one chunk and the next; 0 cuts it."""
    context: int = 0
    """Steps before each chunk through which the gradient of its outputs travels too; only where all `passes` are 0."""
    recompute: bool = True
    """Whether chunks are run again on the way back; else one graph of the whole sequence is kept."""
    snapshots: int | None = None
    """States kept at once; None: all. With fewer, those between are computed from them again."""

    def __post_init__(self) -> None:
        """Raise ValueError where the parts do not fit together."""
        if len(self.passes) != len(self.bounds) - 2 or (self.context and any(self.passes)):
            raise ValueError(f"{len(self.passes)} passes for {len(self.bounds) - 1} chunks, context {self.context}")

    @classmethod
    def of(cls, length: int, size: int, **options: Any) -> Chunks:
        """Cut `length` steps into chunks of `size`, between which nothing is cut unless `passes` says so."""
        bounds = [*range(0, length, size), length]
        return cls(bounds, options.pop("passes", [1.0] * (len(bounds) - 2)), **options)


def run_chunks(network: ChunkNetwork, inputs: Tensor, state: State, chunks: Chunks | None) -> tuple[Tensor, State]:
    """Run `network` over `inputs` (time, batch, ...) from `state` chunk by chunk, in one piece where `chunks` is None.

    Returns (outputs, state): all chunks' outputs behind one another, to be differentiated once, by `backward()`, and
    the state, detached. Gradients reach inputs, `state` and the network's parameters, whose `.grad` they are added to.
    What the network draws at random (dropout) it draws alike when it is run again, except over a `context`, where it
    must be the same at every step, as `workloads.models.encoder.LockedDropout` is.
    """
    if chunks is None:
        outputs, after = network(inputs, state)
        return outputs, map_state(Tensor.detach, after)
    if not torch.is_grad_enabled() or not chunks.recompute:
        return _run_in_one_graph(network, inputs, state, chunks)
    pass_through = _PassThrough(network, chunks, form=state)
    # Something must ask for a gradient, or autograd would never call `backward`, even if only parameters are trained.
    asks = torch.zeros((), requires_grad=True)
    outputs = _Chunked.apply(pass_through, asks, inputs, *state_tensors(state))  # type: ignore[no-untyped-call]
    return cast("Tensor", outputs), pass_through.after


def _run_in_one_graph(network: ChunkNetwork, inputs: Tensor, state: State, chunks: Chunks) -> tuple[Tensor, State]:
    pieces = []
    for (start, stop), factor in zip(pairwise(chunks.bounds), [*chunks.passes, 1.0], strict=True):
        outputs, state = network(inputs[start:stop], state)
        pieces.append(outputs)
        if factor != 1.0:
            state = map_state(partial(_scale_gradient, factor), state)
    return torch.cat(pieces), map_state(Tensor.detach, state)


def _scale_gradient(factor: float, tensor: Tensor) -> Tensor:
    return cast("Tensor", _ScaledGradient.apply(tensor, factor))  # type: ignore[no-untyped-call]


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None]:
        return gradients[0] * ctx.factor if ctx.factor else None, None


@dataclass(slots=True)
class _PassThrough:
    """One run over a sequence: what the way back needs to know of the way forward."""

    network: ChunkNetwork
    chunks: Chunks
    form: Any
    """The initial state, for its shape alone."""
    rows: list[int] = field(default_factory=list)
    """Rows of each chunk's outputs."""
    snapshots: Snapshots | None = None
    after: State = None
    seed: int = 0

    def state_of(self, tensors: Sequence[Tensor]) -> State:
        """Return `tensors` in the form of the initial state."""
        given = iter(tensors)
        return cast("State", map_state(lambda _: next(given), self.form))

    def forget_draws(self, inputs: Tensor) -> AbstractContextManager[Any]:
        """Leave torch's random generators as they are at the end of the block."""
        return torch.random.fork_rng([inputs.device] if inputs.is_cuda else [])

    def draw_as_before(self, chunk: int) -> None:
        """Make the network draw in this chunk what it draws each time that the chunk is run."""
        if not self.chunks.context:
            torch.manual_seed((self.seed + chunk) % 2**63)

    def run_forward(self, inputs: Tensor, chunk: int, state: State) -> tuple[Tensor, State]:
        """Run one chunk without a graph."""
        self.draw_as_before(chunk)
        start, stop = self.chunks.bounds[chunk : chunk + 2]
        with torch.no_grad():
            return self.network(inputs[start:stop], state)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: _PassThrough, asks: Tensor, inputs: Tensor, *initial: Tensor) -> Tensor:
        state = run.state_of(initial)
        count = len(run.chunks.bounds) - 1
        run.seed = int(torch.randint(2**62, ()))
        run.snapshots = Snapshots(count, run.chunks.snapshots)
        pieces: list[Tensor] = []
        with run.forget_draws(inputs):
            for chunk in range(count):
                run.snapshots.offer(chunk, state)
                outputs, state = run.run_forward(inputs, chunk, state)
                pieces.append(outputs)
        run.rows = [len(piece) for piece in pieces]
        run.after = state
        ctx.run = run
        ctx.save_for_backward(inputs, *initial)
        return torch.cat(pieces)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        run: _PassThrough = ctx.run
        inputs, *initial = ctx.saved_tensors
        if run.snapshots is None:
            raise RuntimeError("outputs of run_chunks can be differentiated once")
        wants_inputs, *wants_initial = ctx.needs_input_grad[2:]
        to_inputs = torch.zeros_like(inputs) if wants_inputs else None
        to_initial = [
            torch.zeros_like(tensor) if wanted else None for tensor, wanted in zip(initial, wants_initial, strict=True)
        ]
        with run.forget_draws(inputs):
            _go_back(run, inputs, gradients[0], to_inputs=to_inputs, to_initial=to_initial)
        run.snapshots = None
        return None, None, to_inputs, *to_initial


def _go_back(
    run: _PassThrough,
    inputs: Tensor,
    gradient: Tensor,
    *,
    to_inputs: Tensor | None,
    to_initial: Sequence[Tensor | None],
) -> None:
    """Run chunks again from the last to the first, each from the state before it, and go back through each."""
    bounds, passes = run.chunks.bounds, run.chunks.passes
    carried: list[Tensor | None] = []  # the gradient of the state behind the chunk
    pieces = torch.split(gradient, run.rows)
    for chunk in reversed(range(len(bounds) - 1)):
        begin, state = _state_before(run, inputs, chunk)
        run.draw_as_before(chunk)
        window = inputs[begin : bounds[chunk + 1]].detach().requires_grad_(to_inputs is not None)
        state = map_state(watched, state)
        with torch.enable_grad():
            outputs, after = run.network(window, state)
            roots = [(outputs[-run.rows[chunk] :], pieces[chunk])]
            behind = zip(state_tensors(after), carried, strict=False)
            roots += [(tensor, own) for tensor, own in behind if own is not None]
            ready = [(root, own) for root, own in roots if root.requires_grad]
            torch.autograd.backward([root for root, _ in ready], [own for _, own in ready])
        if to_inputs is not None and window.grad is not None:
            to_inputs[begin : bounds[chunk + 1]] += window.grad
        found = [tensor.grad for tensor in state_tensors(state)]
        if begin == 0:
            for total, own in zip(to_initial, found, strict=False):
                if total is not None and own is not None:
                    total += own
        factor = passes[chunk - 1] if chunk else 0.0
        carried = [None if own is None else own * factor for own in found] if factor else []


def _state_before(run: _PassThrough, inputs: Tensor, chunk: int) -> tuple[int, State]:
    """Return the first step to run for `chunk`, its context counted, and the state before it."""
    bounds = run.chunks.bounds
    if run.snapshots is None:
        raise RuntimeError("the way back comes after the way forward")
    begin = max(bounds[chunk] - run.chunks.context, 0)
    first = chunk
    while bounds[first] > begin:  # the last chunk that begins before, or there
        first -= 1
    state = run.snapshots.before(
        first, lambda number, known: run.run_forward(inputs, number, known)[1], keep=first < chunk
    )
    if bounds[first] < begin:
        with torch.no_grad():
            _, state = run.network(inputs[bounds[first] : begin], state)
    return begin, state
