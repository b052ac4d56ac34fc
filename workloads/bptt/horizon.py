"""The gradient's horizon: how far back the loss at a step reaches, and what a truncation of each length would lose.

The gradient of the loss at step t with respect to the state k steps before is measured for k = 1, 2, ... on a window
of held data, layer by layer; and so is the parameters' gradient that truncation at k steps would keep. Aicher, Foti and
Fox (2019), "Adaptively truncating backpropagation through time to control gradient bias", bound the second by the
first; over one window both can be measured. As in their work, what lies beyond the window is extrapolated by a
geometric decay fitted to the norms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workloads.bptt.state import State, map_state, state_tensors
from workloads.bptt.windows import Loss

EVERY_STEP = 32
"""Distances up to here are all measured, those behind in ratios of 2 ** (1 / 8), about 9 %."""
NEGLIGIBLE = 0.01
"""A gradient below this part of its largest norm has reached its horizon."""
ALLOWED_BIAS = 0.1
"""The relative bias at which a truncation length is advised."""
NOTHING = 1e-8
"""A gradient below this part of its largest is numerical noise, to which no decay is fitted."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """What was measured on one window, or the mean over several."""

    distances: tuple[int, ...]
    """Steps back, rising; the last is the length of the window."""
    norms: tuple[float, ...]
    """Mean norm of the gradient with respect to the whole state at each distance."""
    layers: tuple[tuple[float, ...], ...]
    """The same for the state of each layer."""
    lost: tuple[float, ...]
    """Norm of the part of the parameters' gradient that lies beyond each distance, relative to all of it."""

    @property
    def decay(self) -> float:
        """Return the factor per step by which the gradient changes; below 1 it falls."""
        return fitted_decay(self.distances, self.norms)

    @property
    def beyond(self) -> float:
        """Return what lies beyond the window relative to what lies in it, by the fitted decay; inf where it grows."""
        total = float(np.trapezoid([self.norms[0], *self.norms], [0, *self.distances]))
        if self.norms[-1] <= NOTHING * max(self.norms) or not total:
            return 0.0
        decay = self.decay
        return math.inf if decay >= 1 else self.norms[-1] * decay / (1 - decay) / total

    @property
    def explodes(self) -> bool:
        """Tell whether the gradient has grown over the window, and is still growing at its end."""
        return self.decay > 1 and self.norms[-1] > self.norms[0]

    def bias(self, truncation_length: float) -> float:
        """Return the estimated relative bias of the gradient at a truncation length, from 0 to 1."""
        beyond = self.beyond
        if not math.isfinite(beyond):
            return 1.0
        inside = float(np.interp(truncation_length, [0, *self.distances], [1.0, *self.lost]))
        further = max(truncation_length - self.distances[-1], 0)
        left = beyond * self.decay**further if further and beyond else beyond
        return min((inside + left) / (1 + beyond), 1.0)

    @property
    def reach(self) -> int | None:
        """Return the steps after which the gradient stays below NEGLIGIBLE; None where the window has no such."""
        return reach_of(self.distances, self.norms)

    def shortest(self, bias: float = ALLOWED_BIAS) -> int | None:
        """Return the shortest truncation length whose estimated bias is at most `bias`; None where none is known."""
        far = self.distances[-1]
        within = [length for length in range(1, far + 1) if self.bias(length) > bias]
        length = within[-1] + 1 if within else 1
        if length <= far:
            return length
        # Beyond the window the fitted decay goes on.
        beyond = self.beyond
        if not math.isfinite(beyond):
            return None
        return far + max(math.ceil(math.log(bias * (1 + beyond) / beyond) / math.log(self.decay)), 1)


def horizon_metrics(horizon: Horizon | None, truncation_length: int) -> dict[str, float]:
    """Return a horizon as metrics; none where nothing could be measured.

    `horizon_decay`, `horizon_reach` (absent where the gradient never falls below NEGLIGIBLE within the window),
    `horizon_length`, the shortest truncation length whose estimated bias is at most ALLOWED_BIAS (absent where none is
    known), and `horizon_bias`, that of `truncation_length`. Curves are groups: `horizon_norm/distance:16`,
    `horizon_bias/length:16` at powers of two, and `horizon_decay/layer:1` from the lowest layer on.
    """
    if horizon is None or not max(horizon.norms):
        return {}
    found = {
        "horizon_decay": horizon.decay,
        "horizon_bias": horizon.bias(truncation_length),
        "horizon_reach": horizon.reach,
        "horizon_length": horizon.shortest(),
    }
    shown = [2**power for power in range(horizon.distances[-1].bit_length()) if 2**power <= horizon.distances[-1]]
    for distance in shown:
        found[f"horizon_norm/distance:{distance}"] = float(np.interp(distance, horizon.distances, horizon.norms))
        found[f"horizon_bias/length:{distance}"] = horizon.bias(distance)
    for number, norms in enumerate(horizon.layers, start=1):
        found[f"horizon_decay/layer:{number}"] = fitted_decay(horizon.distances, norms)
        found[f"horizon_reach/layer:{number}"] = reach_of(horizon.distances, norms)
    return {name: float(value) for name, value in found.items() if value is not None}


def fitted_decay(distances: Sequence[int], norms: Sequence[float]) -> float:
    """Fit log norm = a + distance * log decay by least squares over the farther half of the window."""
    pairs = [
        (distance, math.log(norm))
        for distance, norm in zip(distances, norms, strict=True)
        if norm > NOTHING * max(norms) > 0
    ]
    far = [pair for pair in pairs if pair[0] >= pairs[-1][0] / 2]
    if len(far) < 2:
        return 0.0 if len(pairs) < 2 else math.exp((pairs[-1][1] - pairs[0][1]) / (pairs[-1][0] - pairs[0][0]))
    slope = np.polyfit([distance for distance, _ in far], [logarithm for _, logarithm in far], 1)[0]
    return math.exp(float(slope))


def reach_of(distances: Sequence[int], norms: Sequence[float]) -> int | None:
    """Return the first distance from which on all norms are below NEGLIGIBLE of the largest; None if there is none."""
    largest = max(norms)
    if not largest:
        return distances[0]
    above = [place for place, norm in enumerate(norms) if norm >= NEGLIGIBLE * largest]
    return distances[above[-1] + 1] if above[-1] + 1 < len(distances) else None


def mean_horizon(horizons: Sequence[Horizon]) -> Horizon:
    """Return the mean of horizons measured at the same distances."""
    first = horizons[0]
    return Horizon(
        first.distances,
        tuple(np.mean([each.norms for each in horizons], axis=0).tolist()),
        tuple(tuple(row) for row in np.mean([each.layers for each in horizons], axis=0).tolist()),
        tuple(np.mean([each.lost for each in horizons], axis=0).tolist()),
    )


def distances_within(length: int) -> list[int]:
    """Return the distances at which a window of `length` steps is measured; the last is `length`."""
    found = list(range(1, min(length, EVERY_STEP) + 1))
    while found[-1] < length:
        found.append(min(max(found[-1] + 1, round(found[-1] * 2 ** (1 / 8))), length))
    return found


def measure_horizon(network: nn.Module, loss: Loss, *, inputs: Tensor, targets: Tensor, state: State) -> Horizon | None:
    """Measure how the loss at the window's last step depends on what came before.

    inputs and targets are (time, batch, ...), `state` is that before the window. None where the last step has no terms,
    or the network no state. One forward pass and two backward passes over the window; `.grad` stays untouched.
    """
    if state is None:
        with torch.no_grad():
            _, state = network(inputs[:1], None)
        state = map_state(torch.zeros_like, state)
    pieces = _run_apart(network, inputs, state)
    total, terms = loss(pieces[0].outputs[-1:], targets[-1:])
    if not terms or not _differentiable(state):
        return None
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    whole = [torch.zeros_like(parameter) for parameter in parameters]
    by_layer: list[Tensor] = []
    for to_state, to_parameters in _go_back(pieces, total / terms, parameters, keep=True):
        _add(whole, to_parameters)
        by_layer.append(torch.stack([_mean_norm(layer, inputs.shape[1]) for layer in to_state]))
    beyond = [_norm(whole)]
    for _, to_parameters in _go_back(pieces, total / terms, parameters, keep=False):
        _add(whole, to_parameters, by=-1.0)
        beyond.append(_norm(whole))
    norms = torch.stack(by_layer).double()  # (distances, layers)
    lost = torch.stack(beyond).double()
    return Horizon(
        tuple(distances_within(len(inputs))),
        tuple(norms.square().sum(1).sqrt().tolist()),
        tuple(tuple(row) for row in norms.T.tolist()),
        tuple((lost[1:] / lost[0]).nan_to_num(0.0).tolist()),
    )


@dataclass(frozen=True, slots=True)
class _Piece:
    """Steps between two distances, with a graph of their own."""

    before: State
    after: State
    outputs: Tensor


def _run_apart(network: nn.Module, inputs: Tensor, state: State) -> list[_Piece]:
    """Run the window in pieces between its distances; the last steps come first."""
    cuts = [len(inputs) - distance for distance in reversed(distances_within(len(inputs)))]
    pieces = []
    for start, stop in pairwise([*cuts, len(inputs)]):
        before = map_state(_watched, state)
        outputs, state = network(inputs[start:stop], before)
        pieces.append(_Piece(before, state, outputs))
    return pieces[::-1]


def _go_back(
    pieces: Sequence[_Piece], loss: Tensor, parameters: Sequence[Tensor], *, keep: bool
) -> Iterator[tuple[list[list[Tensor]], Sequence[Tensor | None]]]:
    """Yield what each piece adds, from the last steps to the first: the gradients of the state before it, layer by
    layer, and of the parameters.
    """
    roots: list[Tensor] = [loss]
    carried: list[Tensor | None] = [None]
    for piece, earlier in zip(pieces, [*pieces[1:], None], strict=True):
        before = _differentiable(piece.before)
        found: Sequence[Tensor | None] = [None] * (len(before) + len(parameters))
        if roots:
            found = torch.autograd.grad(roots, [*before, *parameters], carried, allow_unused=True, retain_graph=keep)
        to_state = [
            torch.zeros_like(tensor) if own is None else own
            for tensor, own in zip(before, found[: len(before)], strict=True)
        ]
        yield _by_layer(piece.before, to_state), found[len(before) :]
        if earlier is not None:
            pairs = zip(_differentiable(earlier.after), to_state, strict=True)
            passed = [(tensor, own) for tensor, own in pairs if tensor.requires_grad]
            roots, carried = [tensor for tensor, _ in passed], [own for _, own in passed]


def _add(total: Sequence[Tensor], parts: Sequence[Tensor | None], by: float = 1.0) -> None:
    for tensor, part in zip(total, parts, strict=True):
        if part is not None:
            tensor.add_(part, alpha=by)


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.double().square().sum() for tensor in tensors]).sum().sqrt()


def _mean_norm(tensors: Sequence[Tensor], batch: int) -> Tensor:
    """Return the mean over the streams of the norm of each one's part of a layer's state."""
    squares: Tensor | float = 0.0
    for tensor in tensors:
        # Cells keep states as (batch, hidden) or, like torch's, (1, batch, hidden); of others the norm is taken whole.
        by_stream = tensor.ndim >= 2 and tensor.shape[-2] == batch
        own = tensor.double().square()
        squares = squares + (own.sum(-1).reshape(-1, batch).sum(0) if by_stream else own.sum() / batch)
    return torch.as_tensor(squares).sqrt().mean()


def _by_layer(state: State, tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Sort the tensors of a state by the layers they belong to."""
    given = iter(tensors)
    layers = state if isinstance(state, tuple) else (state,)
    return [[next(given) for _ in _differentiable(layer)] for layer in layers]


def _watched(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(tensor.is_floating_point())


def _differentiable(state: Any) -> list[Tensor]:
    # A user's own cell may count steps in its state.
    return [tensor for tensor in state_tensors(state) if tensor.is_floating_point()]
