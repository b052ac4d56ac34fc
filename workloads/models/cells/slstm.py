"""sLSTM: an LSTM with exponential gates, which can revise what it has stored.

Beck et al. (2024), "xLSTM: extended long short-term memory", equations 8 to 17, with one head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SLSTMState = tuple[Tensor, Tensor, Tensor, Tensor]


class SLSTM(nn.Module):
    """With z~, o~, i~, f~ = W x(t) + R h(t-1) + b, z = tanh(z~), o = sigmoid(o~), i = exp(i~), f = sigmoid(f~):

    c(t) = f c(t-1) + i z, n(t) = f n(t-1) + i, h(t) = o c(t) / n(t).

    Inputs (time, batch, input_size), outputs (time, batch, hidden_size), state (h, c, n, m) of (1, batch, hidden_size)
    each. What is carried as c and n is both times exp(-m), m(t) = max(log f + m(t-1), i~): then one of the two gates is
    1 and the other less at every step, nothing overflows, and n is at least 1. Forget biases begin between 3 and 6, one
    unit after another, so that at first some units forget within 20 steps and others within 400.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.from_input = nn.Linear(input_size, 4 * hidden_size)
        self.from_hidden = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        with torch.no_grad():
            self.from_input.bias[3 * hidden_size :] = torch.linspace(3, 6, hidden_size)

    def forward(self, inputs: Tensor, state: SLSTMState | None = None) -> tuple[Tensor, SLSTMState]:
        """Run one window."""
        weight = self.from_hidden.weight
        zeros = weight.new_zeros(inputs.shape[1], self.hidden_size)
        hidden, cell, norm, scale = (zeros,) * 4 if state is None else (part[0] for part in state)
        empty: Tensor | None = norm == 0
        drives = self.from_input(inputs).to(weight.dtype)  # (time, batch, 4 hidden)
        outputs = []
        for drive in drives.unbind():
            gates = drive + functional.linear(hidden, weight)
            candidate, release, admit, forget = gates.chunk(4, -1)
            log_forget = functional.logsigmoid(forget)
            if empty is not None:
                # Where nothing is stored yet any scale is right; this one makes n(1) = 1, whatever i~ is.
                scale, empty = torch.where(empty, (admit - log_forget).detach(), scale), None
            kept = log_forget + scale
            # c / n does not depend on how both are scaled, so no gradient need travel through the scale.
            scale = torch.maximum(kept, admit).detach()
            forgetting, admitting = (kept - scale).exp(), (admit - scale).exp()
            cell = forgetting * cell + admitting * candidate.tanh()
            norm = forgetting * norm + admitting
            hidden = release.sigmoid() * cell / norm
            outputs.append(hidden)
        return torch.stack(outputs), (hidden[None], cell[None], norm[None], scale[None])
