"""The linear recurrent unit: a complex diagonal recurrence, run for all steps at once.

Orvieto et al. (2023), "Resurrecting recurrent neural networks for long sequences", sections 3.2 to 3.4 and appendix A.
The layer is linear in its inputs. In the paper it stands in a block with a nonlinearity behind it; here what stands
behind it is what the network has: `train.layer_norm`, the layers' outputs, dropout.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from workloads.models.cells.linear_scan import linear_scan

LEAST_RADIUS, LARGEST_RADIUS = 0.9, 0.999
"""The ring in which eigenvalues begin: memories of 10 to 1,000 steps."""


class LRU(nn.Module):
    """x(t) = L x(t-1) + g * (B u(t)), y(t) = Re(C x(t)) + D u(t), with L = exp(-exp(nu) + i exp(theta)), all complex.

    L is diagonal, so |L| < 1 whatever nu (lemma 3.2 draws it evenly from a ring); g = exp(gamma) begins as
    sqrt(1 - |L| ** 2), so that states are as large as inputs (section 3.4). There are hidden_size complex states.
    Inputs u (time, batch, input_size), outputs y (time, batch, hidden_size), state (1, batch, 2 * hidden_size): the
    real and the imaginary part of each x behind one another.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        squared = LEAST_RADIUS**2 + torch.rand(hidden_size) * (LARGEST_RADIUS**2 - LEAST_RADIUS**2)
        self.nu = nn.Parameter((-0.5 * squared.log()).log())
        self.theta = nn.Parameter((2 * math.pi * torch.rand(hidden_size)).log())
        self.gamma = nn.Parameter(0.5 * (1 - squared).log())
        # Glorot, with half of the variance in each part; complex numbers as pairs, so that optimisers see real ones.
        self.from_input = nn.Parameter(torch.randn(2 * hidden_size, input_size) / math.sqrt(2 * input_size))  # B
        self.to_output = nn.Parameter(torch.randn(hidden_size, 2 * hidden_size) / math.sqrt(hidden_size))  # Re C, -Im C
        self.past = nn.Parameter(torch.randn(hidden_size, input_size) / math.sqrt(input_size))  # D, past the recurrence

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run one window."""
        dtype = self.nu.dtype
        before = self.nu.new_zeros(1, inputs.shape[1], 2 * self.hidden_size) if state is None else state
        drives = _as_complex(functional.linear(inputs, self.from_input).to(dtype))  # (time, batch, hidden)
        eigenvalues = torch.polar((-self.nu.exp()).exp(), self.theta.exp())
        states = linear_scan(eigenvalues[None, None], self.gamma.exp() * drives, _as_complex(before[0]))
        pairs = torch.view_as_real(states).flatten(-2)  # (time, batch, 2 hidden)
        outputs = functional.linear(pairs, self.to_output) + functional.linear(inputs, self.past)
        return outputs.to(dtype), pairs[-1:].clone()


def _as_complex(pairs: Tensor) -> Tensor:
    return torch.view_as_complex(pairs.reshape(*pairs.shape[:-1], -1, 2))
