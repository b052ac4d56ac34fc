"""minGRU and minLSTM: gates that look at the inputs alone, so that all steps can be run at once.

Feng et al. (2024), "Were RNNs all we needed?", sections 3.1 and 3.2. Their appendix runs the recurrence on logarithms,
for which candidates must be made positive; here they stay as in the equations below, of either sign, since
`linear_scan` needs no logarithms to be exact over long windows. Gates lie in (0, 1), so states never leave the range of
the candidates.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from workloads.models.cells.linear_scan import linear_scan


class MinGRU(nn.Module):
    """h(t) = (1 - z(t)) h(t-1) + z(t) h~(t), with z = sigmoid(W_z x + b_z) and h~ = W_h x + b_h.

    Inputs (time, batch, input_size), outputs (time, batch, hidden_size), state (1, batch, hidden_size).
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.from_input = nn.Linear(input_size, 2 * hidden_size)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run one window."""
        weight = self.from_input.weight
        before = weight.new_zeros(inputs.shape[1], self.hidden_size) if state is None else state[0]
        gate, candidate = self.from_input(inputs).to(weight.dtype).chunk(2, -1)  # (time, batch, hidden) each
        outputs = linear_scan((-gate).sigmoid(), gate.sigmoid() * candidate, before)
        return outputs, outputs[-1:].clone()


class MinLSTM(nn.Module):
    """h(t) = f'(t) h(t-1) + i'(t) h~(t), with f' = f / (f + i), i' = i / (f + i) and h~ = W_h x + b_h.

    f = sigmoid(W_f x + b_f) and i = sigmoid(W_i x + b_i). Shapes are those of MinGRU.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.from_input = nn.Linear(input_size, 3 * hidden_size)

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run one window."""
        weight = self.from_input.weight
        before = weight.new_zeros(inputs.shape[1], self.hidden_size) if state is None else state[0]
        forget, admit, candidate = self.from_input(inputs).to(weight.dtype).chunk(3, -1)  # (time, batch, hidden) each
        # The ratio of both gates by their logarithms: f / (f + i) = sigmoid(log f - log i), also where both vanish.
        kept = functional.logsigmoid(forget) - functional.logsigmoid(admit)
        outputs = linear_scan(kept.sigmoid(), (-kept).sigmoid() * candidate, before)
        return outputs, outputs[-1:].clone()
