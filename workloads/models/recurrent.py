"""The recurrent network that every workload builds on: input layer, recurrent layers, output layer."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from workloads.bptt.state import CellState, State
from workloads.models.cells import make_cell
from workloads.models.cells.classical import Embedded, takes_numbers
from workloads.models.dropout import Dropout

if TYPE_CHECKING:
    from workloads.hyperparameters import Hyperparameters


class RecurrentNetwork(nn.Module):
    """Maps a window of inputs and a carried state to a window of outputs and the state behind it.

    With `vocabulary_size`, inputs are token numbers (time, batch) and are embedded; otherwise they are
    vectors (time, batch, input_size). Outputs are (time, batch, output_size). Layers are separate fused
    modules rather than one of several layers, so that normalisation can stand between them and the
    gradient can be watched layer by layer.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        *,
        output_size: int,
        input_size: int | None = None,
        vocabulary_size: int | None = None,
    ) -> None:
        super().__init__()
        h = hyperparameters
        self.embedding: nn.Module = nn.Identity()
        if vocabulary_size is not None:
            input_size = h.embedding_size or h.hidden_size
            self.embedding = nn.Embedding(vocabulary_size, input_size)
        if input_size is None:
            raise ValueError("a network needs an input_size or a vocabulary_size")
        self.input_size = input_size
        widths = [input_size] + [h.hidden_size] * h.num_layers
        self.layers = nn.ModuleList(make_cell(h.cell_type, width, h.hidden_size) for width in widths[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(h.hidden_size) if h.layer_norm else nn.Identity() for _ in self.layers)
        self.dropout = Dropout(h.dropout) if h.dropout else nn.Identity()
        self.output = nn.Linear(h.hidden_size, output_size)
        self.in_bfloat16 = h.precision == "bf16"

    def forward(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Run one window; see the class for shapes."""
        with torch.autocast(inputs.device.type, torch.bfloat16) if self.in_bfloat16 else nullcontext():
            outputs, after = self._run(inputs, state)
        return outputs.float() if self.in_bfloat16 else outputs, after

    def _run(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        hidden: Any = self._embedded(inputs)  # (time, batch, features)
        before: tuple[CellState, ...] = state if state is not None else (None,) * len(self.layers)
        after: list[CellState] = []
        for layer, norm, layer_state in zip(self.layers, self.norms, before, strict=True):
            hidden, new_state = layer(hidden, layer_state)
            hidden = self.dropout(norm(hidden))  # (time, batch, hidden)
            after.append(new_state)
        return self.output(hidden), tuple(after)

    def _embedded(self, inputs: Tensor) -> Tensor | Embedded:
        """Return what the first layer reads: where it can, the numbers of vectors in place of the vectors."""
        if type(self.embedding) is nn.Embedding and takes_numbers(self.layers[0]):
            return Embedded(inputs, self.embedding.weight)
        return cast("Tensor", self.embedding(inputs))
