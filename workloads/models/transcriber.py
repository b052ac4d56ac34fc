"""The acoustic model: a recurrent encoder over features, and a logit for each symbol at each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from workloads.bptt.state import State
from workloads.models.encoder import Encoder, Stack

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

    def read(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """Transcribe one window behind the state before it; ValueError where a step needs what comes after it, too."""
        if self.encoder.backward_stacks is not None:
            raise ValueError(
                "the model is bidirectional: it reads every recording from its end, too, and cannot begin before that; "
                "train one with bidirectional: false"
            )
        hidden, after = cast("Stack", self.encoder.forward_stacks[0])(features, state)
        return self.output(hidden), after
