"""Truncated backpropagation through whole sequences, whose loss is known only at their end.

A sentence or an utterance is read as a whole before it has a loss (connectionist temporal classification, attention),
so there is no update at every window. What is truncated is the way back: the sequence is run forward in chunks without
a graph, keeping the state before each; once the loss has a gradient at the outputs, the chunks are run again from the
last to the first, each with a graph of truncation_length steps at most. Recomputing from stored states is checkpointed
BPTT (Chen et al., 2016, "Training deep nets with sublinear memory cost"); cutting the gradient between them makes the
memory that of one window, plus inputs and outputs, however long the sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from workloads.bptt.state import State, map_state, state_tensors


def run_truncated(
    network: nn.Module, inputs: Tensor, state: State = None, *, truncation_length: int, k1: int | None = None
) -> tuple[Tensor, State]:
    """Run `network` over whole sequences; gradients of the outputs travel back `truncation_length` steps at most.

    `network(inputs, state)` returns (outputs, state), reads no step ahead of its own, and gives the same when it
    is run again: dropout inside must be the same at every step, as `workloads.models.encoder.LockedDropout` is.
    Inputs are (time, batch, features), outputs (time, batch, ...). Outputs can be differentiated as any
    tensor, once; gradients reach the inputs and `state`, as far as they lie within reach, and the network's parameters,
    whose `.grad` they are added to: use `backward()`, not `torch.autograd.grad`. The state returned is detached.

    The steps are cut into chunks of `k1` (by default truncation_length): the gradient of a chunk's outputs travels back
    through the chunk and the truncation_length - k1 steps before it.
    """
    k1 = min(k1 or truncation_length, truncation_length)
    last_chunk_ends = -(-len(inputs) // k1) * k1
    # Where a whole last chunk reaches back to the first step nothing is cut, however much longer its company is.
    if last_chunk_ends <= truncation_length or not torch.is_grad_enabled():
        outputs, after = network(inputs, state)
        return outputs, map_state(Tensor.detach, after)
    chunks = _Chunks(network, truncation_length, k1, state)
    # Something must ask for a gradient, or autograd would never call `backward`, even if only parameters are trained.
    asks = torch.zeros((), requires_grad=True)
    outputs = _Truncated.apply(chunks, asks, inputs, *state_tensors(state))  # type: ignore[no-untyped-call]
    return cast("Tensor", outputs), chunks.after


@dataclass(slots=True)
class _Chunks:
    """What the way back needs to know of the way forward."""

    network: nn.Module
    truncation_length: int
    k1: int
    form: Any
    """The initial state, for its shape alone."""
    before: list[State] | None = None
    """The states before each chunk, detached."""
    after: State = None

    def state_from(self, tensors: tuple[Tensor, ...]) -> State:
        """Return `tensors` in the form of the initial state."""
        given = iter(tensors)
        return cast("State", map_state(lambda _: next(given), self.form))

    def bounds(self, length: int) -> list[int]:
        """Return where chunks begin, and where the last one ends."""
        return [*range(0, length, self.k1), length]


class _Truncated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, chunks: _Chunks, asks: Tensor, inputs: Tensor, *initial: Tensor) -> Tensor:
        state = chunks.state_from(initial)
        pieces: list[Tensor] = []
        chunks.before = []
        for start, stop in pairwise(chunks.bounds(len(inputs))):
            chunks.before.append(state)
            outputs, state = chunks.network(inputs[start:stop], state)
            pieces.append(outputs)
        chunks.after = state
        ctx.chunks = chunks
        ctx.save_for_backward(inputs, *initial)
        return torch.cat(pieces)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        chunks: _Chunks = ctx.chunks
        inputs, *initial = ctx.saved_tensors
        if chunks.before is None:
            raise RuntimeError("outputs of run_truncated can be differentiated once")
        before, chunks.before = chunks.before, None
        wants_inputs, *wants_initial = ctx.needs_input_grad[2:]
        to_inputs = torch.zeros_like(inputs) if wants_inputs else None
        to_initial = [
            torch.zeros_like(tensor) if wanted else None for tensor, wanted in zip(initial, wants_initial, strict=True)
        ]
        bounds = chunks.bounds(len(inputs))
        for new, stop in reversed(list(pairwise(bounds))):
            begin = max(new - (chunks.truncation_length - chunks.k1), 0)
            first = begin // chunks.k1  # the last chunk that begins before, or there
            state = before[first]
            if bounds[first] < begin:
                with torch.no_grad():
                    _, state = chunks.network(inputs[bounds[first] : begin], state)
            window = inputs[begin:stop].detach().requires_grad_(wants_inputs)
            state = map_state(_watched, state)
            with torch.enable_grad():
                outputs, _ = chunks.network(window, state)
                torch.autograd.backward(outputs[new - begin :], gradient[new:stop])
            if to_inputs is not None and window.grad is not None:
                to_inputs[begin:stop] += window.grad
            if begin == 0:
                for total, tensor in zip(to_initial, state_tensors(state), strict=False):
                    if total is not None and tensor.grad is not None:
                        total += tensor.grad
        return None, None, to_inputs, *to_initial


def _watched(tensor: Tensor) -> Tensor:
    # Cells may count steps in their state.
    return tensor.detach().requires_grad_(tensor.is_floating_point())
