"""Dropout whose mask is drawn fast on a CPU: torch's takes up to a fifth of a small network's update there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANCES = 2**16
"""Of so many the probability is a whole number: four numbers are kept or dropped by 64 random bits."""


class Dropout(nn.Dropout):
    """torch's Dropout, but that on a CPU each number has 16 bits of torch's generator instead of a draw of its own."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Drop out in training; of any shape."""
        kept = CHANCES - round(self.p * CHANCES)
        is_torchs = self.inplace or inputs.device.type != "cpu" or inputs.dtype != torch.float32
        if not self.training or is_torchs or not 0 < kept < CHANCES:
            return super().forward(inputs)
        count = inputs.numel()
        bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        factors = torch.empty_like(inputs, memory_format=torch.contiguous_format)
        drawn = bits.view(torch.int16)[:count].view(inputs.shape)
        torch.lt(drawn, kept - CHANCES // 2, out=factors)  # signed: from -CHANCES / 2 on
        return inputs * factors.mul_(CHANCES / kept)
