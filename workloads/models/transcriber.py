"""The acoustic model: a recurrent encoder over features, and a logit for each symbol at each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from workloads.models.encoder import Encoder

if TYPE_CHECKING:
    from workloads.hyperparameters import Hyperparameters


class Transcriber(nn.Module):
    """Maps features (time, batch, features) and their lengths (batch,) to logits (time, batch, symbols).

    Graves, Mohamed and Hinton (2013), "Speech recognition with deep recurrent neural networks".
    """

    def __init__(self, h: Hyperparameters, *, input_size: int, symbols: int) -> None:
        super().__init__()
        self.encoder = Encoder(h, input_size)
        self.output = nn.Linear(self.encoder.output_size, symbols)

    def forward(self, features: Tensor, steps: Tensor) -> Tensor:
        """Transcribe a padded batch; see the class for shapes."""
        logits: Tensor = self.output(self.encoder(features, steps))
        return logits
