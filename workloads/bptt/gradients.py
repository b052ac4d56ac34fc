"""The norms of gradients in training, and clipping by them.

Pascanu, Mikolov and Bengio (2013), "On the difficulty of training recurrent neural networks".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


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
            # On a CPU the norm is at hand, and gradients need not be multiplied by 1; a GPU would be waited for.
            if norm.device.type != "cpu" or not float(norm) <= self.max_grad_norm - 1e-6:
                nn.utils.clip_grads_with_norm_(trained, self.max_grad_norm, norm)
            self.clipped = self.clipped + (norm > self.max_grad_norm)
        self.count += 1
        self.total = self.total + norm
        self.largest = torch.maximum(self.largest.to(norm.device), norm)
        return norm

    def position(self) -> dict[str, Any]:
        """Return what was gathered, for a checkpoint in the middle."""
        return {"count": self.count, "total": self.total, "largest": self.largest, "clipped": self.clipped}

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Go on gathering where `position` was taken; single numbers of a CPU add to those of any device."""
        self.count, self.total = position["count"], position["total"]
        self.largest, self.clipped = position["largest"], position["clipped"]

    def metrics(self) -> dict[str, float]:
        """Return the mean and the largest norm, and the part of the updates that was clipped."""
        count = max(self.count, 1)
        return {
            "gradient_norm": float(self.total) / count,
            "gradient_norm_max": float(self.largest),
            "gradient_clipped": float(self.clipped) / count,
        }
