"""Measuring a gradient horizon: one window run forward in pieces, and the way back through it.

See `workloads.bptt.horizon` for what is measured, and what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from workloads.bptt.horizon import Horizon
from workloads.bptt.state import State, map_state, state_tensors, watched
from workloads.bptt.windows import Loss
from workloads.horizon_window import are_kept, distances_within

AT_ONCE = 2**16
"""Numbers that are squared at a time: doubles of all of a large layer's would be most of what measuring takes."""


def measure_horizon(network: nn.Module, loss: Loss, *, inputs: Tensor, targets: Tensor, state: State) -> Horizon | None:
    """Measure how the loss at the last step of a window depends on what came before.

    inputs and targets are (time, batch, ...), `state` is that before the window. None where the last step has no terms,
    the network no state or nothing to learn behind it, or gradients are no numbers any more. Takes one forward pass and
    one backward pass, or two where gradients are too large to be kept; `.grad` stays untouched.
    """
    if state is None:
        with torch.no_grad():
            _, state = network(inputs[:1], None)
        state = map_state(torch.zeros_like, state)
    pieces, outputs = _run_in_pieces(network, inputs, state)
    total, terms = loss(outputs[-1:], targets[-1:])
    if not terms or not _differentiable(state):
        return None
    root = total / terms
    parameters = _reached_from_before(pieces, root, [each for each in network.parameters() if each.requires_grad])
    if not parameters:
        return None
    left = [torch.zeros_like(parameter) for parameter in parameters]
    # Made before: a small tensor kept between large ones that come and go would keep their room from the next.
    norms = torch.zeros(
        len(pieces), len(_by_layer(state, _differentiable(state))), dtype=torch.float64, device=inputs.device
    )
    lost = torch.zeros(1 + len(pieces), dtype=torch.float64, device=inputs.device)
    is_kept = are_kept(sum(parameter.nbytes for parameter in parameters), len(pieces))
    kept: list[Sequence[Tensor | None]] = []
    # Each set of gradients is let go of before the next is made; enumerate() and zip() would keep one more.
    rows, squares = iter(norms.unbind()), iter(lost.unbind())
    for to_state, to_parameters in _go_back(pieces, root, parameters):
        _add(left, to_parameters)
        if is_kept:
            kept.append(to_parameters)
        del to_parameters
        row = next(rows)
        for layer, own in enumerate(to_state):
            row[layer] = _mean_norm(own, inputs.shape[1])
    next(squares).copy_(_square(left))
    for _, to_parameters in (((), own) for own in kept) if is_kept else _go_back(pieces, root, parameters):
        _add(left, to_parameters, by=-1.0)
        del to_parameters
        next(squares).copy_(_square(left))
    if not (norms.isfinite().all() and lost.isfinite().all()):
        return None
    return Horizon(
        tuple(distances_within(len(inputs))),
        tuple(norms.square().sum(1).sqrt().tolist()),
        tuple(tuple(row) for row in norms.T.tolist()),
        tuple(lost[1:].tolist()),
        float(lost[0]),
    )


def _reached_from_before(pieces: Sequence[_Piece], root: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return the parameters whose gradient travels through the state: an output layer's knows of no truncation."""
    reached: list[Tensor] = []
    for number, (_, to_parameters) in enumerate(_go_back(pieces[:2], root, parameters)):
        if number or len(pieces) == 1:
            reached = [each for each, own in zip(parameters, to_parameters, strict=True) if own is not None]
    return reached


@dataclass(frozen=True, slots=True)
class _Piece:
    """Steps between two distances, with a graph of their own."""

    before: State
    after: State


def _run_in_pieces(network: nn.Module, inputs: Tensor, state: State) -> tuple[list[_Piece], Tensor]:
    """Run the window in pieces between its distances; return them, the last steps first, and the last steps' outputs.

    Outputs of the others are let go of at once: where the vocabulary is large, they are most of what there is.
    """
    cuts = [len(inputs) - distance for distance in reversed(distances_within(len(inputs)))]
    pieces = []
    for start, stop in pairwise([*cuts, len(inputs)]):
        before = map_state(watched, state)
        outputs = None
        outputs, state = network(inputs[start:stop], before)
        pieces.append(_Piece(before, state))
    return pieces[::-1], cast("Tensor", outputs)


def _go_back(
    pieces: Sequence[_Piece], loss: Tensor, parameters: Sequence[Tensor]
) -> Iterator[tuple[list[list[Tensor]], Sequence[Tensor | None]]]:
    """Yield what each piece adds, from the last steps to the first.

    That are the gradients of the state before it, layer by layer, and those of the parameters.
    """
    root: Tensor | None = loss
    for piece, earlier in zip(pieces, [*pieces[1:], None], strict=True):
        before = _differentiable(piece.before)
        found: Sequence[Tensor | None] = [None] * (len(before) + len(parameters))
        if root is not None:
            found = torch.autograd.grad(root, [*before, *parameters], allow_unused=True, retain_graph=True)
        to_state = [
            torch.zeros_like(tensor) if own is None else own
            for tensor, own in zip(before, found[: len(before)], strict=True)
        ]
        to_parameters = found[len(before) :]
        del found
        yield _by_layer(piece.before, to_state), to_parameters
        del to_parameters
        if earlier is not None:
            pairs = zip(_differentiable(earlier.after), to_state, strict=True)
            # The gradient of this is what is carried on, exactly. Given that as it is, torch would load its symbolic
            # algebra to compare shapes: 0.35 s in every process.
            passed = [(tensor * own).sum() for tensor, own in pairs if tensor.requires_grad]
            root = torch.stack(passed).sum() if passed else None


def _add(total: Sequence[Tensor], parts: Sequence[Tensor | None], by: float = 1.0) -> None:
    for tensor, part in zip(total, parts, strict=True):
        if part is not None:
            tensor.add_(part, alpha=by)


def _square(tensors: Sequence[Tensor]) -> Tensor:
    parts = [part for tensor in tensors for part in _at_once(tensor)]
    return torch.stack([part.double().square().sum() for part in parts]).sum()


def _at_once(tensor: Tensor) -> Sequence[Tensor]:
    # On a GPU each part would be a launch of its own.
    return [tensor] if tensor.device.type == "cuda" else torch.split(tensor.reshape(-1), AT_ONCE)


def _mean_norm(tensors: Sequence[Tensor], batch: int) -> Tensor:
    """Return the mean over the streams of the norm of each one's part of a layer's state."""
    squares: Tensor | float = 0.0
    for tensor in tensors:
        # Cells keep states as (batch, hidden) or, like torch's, (1, batch, hidden); of others the norm is taken whole.
        by_stream = tensor.ndim >= 2 and tensor.shape[-2] == batch
        own = tensor.double().square()
        squares = squares + (own.sum(-1).reshape(-1, batch).sum(0) if by_stream else own.sum() / batch)
    return torch.as_tensor(squares, dtype=torch.float64).sqrt().mean()


def _by_layer(state: State, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Sort the tensors of a state by the layers they belong to."""
    given = iter(tensors)
    layers = state if isinstance(state, tuple) else (state,)
    return [[next(given) for _ in _differentiable(layer)] for layer in layers]


def _differentiable(state: Any) -> list[Tensor]:
    # A user's own cell may count steps in its state.
    return [tensor for tensor in state_tensors(state) if tensor.is_floating_point()]
