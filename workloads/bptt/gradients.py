"""What becomes of gradients on their way back: their norms, and whether they vanish or explode.

Pascanu, Mikolov and Bengio (2013), "On the difficulty of training recurrent neural networks".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from workloads.bptt.state import State, map_state, state_tensors
from workloads.bptt.truncation import Loss, Network

VANISHING = 1e-3
"""A gradient that falls below this part of itself over the truncation length is called vanishing."""
EXPLODING = 1e3


@dataclass(slots=True)
class GradientNorms:
    """L2 norms of the parameters' gradient before clipping, gathered between two evaluations.

    Sums stay tensors, so that a GPU is not waited for at every update.
    """

    max_grad_norm: float | None
    count: int = 0
    total: Tensor | float = 0.0
    largest: Tensor = field(default_factory=lambda: torch.zeros(()))
    clipped: Tensor | float = 0.0

    def clip(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        """Clip the gradient in place if a limit is set, record its norm and return it."""
        trained = list(parameters)
        norm = nn.utils.get_total_norm([parameter.grad for parameter in trained if parameter.grad is not None])
        if self.max_grad_norm is not None:
            nn.utils.clip_grads_with_norm_(trained, self.max_grad_norm, norm)
            self.clipped = self.clipped + (norm > self.max_grad_norm)
        self.count += 1
        self.total = self.total + norm
        self.largest = torch.maximum(self.largest.to(norm.device), norm)
        return norm

    def metrics(self) -> dict[str, float]:
        """Return the mean and the largest norm, and the part of the updates that was clipped."""
        count = max(self.count, 1)
        return {
            "gradient_norm": float(self.total) / count,
            "gradient_norm_max": float(self.largest),
            "gradient_clipped": float(self.clipped) / count,
        }


def gradient_by_distance(
    network: Network, loss: Loss, *, inputs: Tensor, targets: Tensor, state: State
) -> dict[int, float]:
    """Measure how the gradient of the last term of the loss falls or grows with the distance it travels.

    Returns the L2 norm of d loss(last steps with terms) / d state k steps earlier, for k = 1, 2, 4, ... up to the
    window's length; inputs and targets are (time, batch, ...). Empty where the window's last step has no
    terms. One forward and one backward pass over the window; parameters' gradients stay untouched.
    """
    length = len(inputs)
    distances = [2**power for power in range(length.bit_length()) if 2**power <= length]
    cuts = sorted({length - distance for distance in distances} | {0})
    at_distance: dict[int, State] = {}
    outputs = inputs.new_zeros(0)
    if state is None:
        with torch.no_grad():
            _, state = network(inputs[:1], None)
        state = map_state(torch.zeros_like, state)
    for start, stop in zip(cuts, [*cuts[1:], length], strict=True):
        state = map_state(_watched, state)
        at_distance[length - start] = state
        outputs, state = network(inputs[start:stop], state)
    total, terms = loss(outputs[-1:], targets[-1:])
    if not terms:
        return {}
    flat = [tensor for part in at_distance.values() for tensor in _differentiable(part)]
    if not flat:  # a user's own cell may have no state at all
        return {}
    gradients = iter(torch.autograd.grad(total / terms, flat, allow_unused=True))
    norms = {}
    for distance, part in at_distance.items():
        squares = [
            gradient.double().square().sum() for _ in _differentiable(part) if (gradient := next(gradients)) is not None
        ]
        norms[distance] = math.sqrt(float(sum(squares))) if squares else 0.0
    return dict(sorted(norms.items()))


def _watched(tensor: Tensor) -> Tensor:
    # A state with a graph behind it can be differentiated as it is; a leaf must be asked to.
    return tensor if tensor.requires_grad or not tensor.is_floating_point() else tensor.detach().requires_grad_()


def _differentiable(state: State) -> list[Tensor]:
    # A user's own cell may count steps in its state.
    return [tensor for tensor in state_tensors(state) if tensor.is_floating_point()]


def describe_decay(norms: dict[int, float]) -> dict[str, float]:
    """Sum up norms by distance as metrics.

    `gradient_decay` is the mean factor per step over the window (below 1 it falls), `gradient_at_truncation` the part
    of the gradient at distance 1 that is left at the window's far end, and `gradient_vanishing` and
    `gradient_exploding` are 1 where that part is below VANISHING or above EXPLODING.
    """
    if len(norms) < 2 or not next(iter(norms.values())):
        return {}
    (near, first), *_, (far, last) = norms.items()
    left = last / first
    return {
        "gradient_decay": max(left, 1e-300) ** (1 / (far - near)),
        "gradient_at_truncation": left,
        "gradient_vanishing": float(left < VANISHING),
        "gradient_exploding": float(not left <= EXPLODING),
    }
