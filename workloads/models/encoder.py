"""Encoders of whole sequences: one- or bidirectional recurrent layers, truncated in training, masked at padding."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from workloads.bptt.chunks import run_chunks
from workloads.bptt.graph_bytes import step_bytes
from workloads.bptt.horizon import Horizon
from workloads.bptt.horizon_measurement import measure_horizon
from workloads.bptt.schemes import make_truncation
from workloads.bptt.state import CellState, State
from workloads.models.cells import make_cell

if TYPE_CHECKING:
    from workloads.hyperparameters import Hyperparameters


class LockedDropout(nn.Module):
    """Dropout with one mask for all steps of a sequence, drawn when a batch begins.

    Gal and Ghahramani (2016), "A theoretically grounded application of dropout in recurrent neural networks". A step
    that is run again on the way back meets the mask that it met before.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.mask: Tensor | None = None

    def draw(self, like: Tensor, features: int) -> None:
        """Draw the mask of a batch `like` (time, batch, ...), for vectors of `features`."""
        if not self.probability:
            return
        keep = 1 - self.probability
        self.mask = like.new_empty((1, like.shape[1], features)).bernoulli_(keep) / keep

    def forward(self, hidden: Tensor) -> Tensor:
        """Drop out in training; hidden is (time, batch, features)."""
        return hidden * self.mask if self.training and self.mask is not None else hidden


class Stack(nn.Module):
    """Recurrent layers over one another in one direction, each normalised and dropped out as asked for."""

    def __init__(self, h: Hyperparameters, input_size: int, num_layers: int) -> None:
        super().__init__()
        widths = [input_size] + [h.hidden_size] * num_layers
        self.layers = nn.ModuleList(make_cell(h.cell_type, width, h.hidden_size) for width in widths[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(h.hidden_size) if h.layer_norm else nn.Identity() for _ in self.layers)
        self.dropouts = nn.ModuleList(LockedDropout(h.dropout) for _ in self.layers)
        self.hidden_size, self.batch_size, self.truncation = h.hidden_size, h.batch_size, make_truncation(h)
        self.in_bfloat16 = h.precision == "bf16"

    def forward(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Run one window: inputs (time, batch, features) to outputs (time, batch, hidden)."""
        before: tuple[CellState, ...] = state if state is not None else (None,) * len(self.layers)
        after: list[CellState] = []
        hidden = inputs
        with torch.autocast(inputs.device.type, torch.bfloat16) if self.in_bfloat16 else nullcontext():
            for layer, norm, dropout, layer_state in zip(self.layers, self.norms, self.dropouts, before, strict=True):
                hidden, new_state = layer(hidden, layer_state)
                hidden = dropout(norm(hidden))
                after.append(new_state)
        return hidden.float() if self.in_bfloat16 else hidden, tuple(after)

    def run(self, inputs: Tensor) -> Tensor:
        """Run whole sequences from their first step, the gradient truncated: (time, batch, hidden)."""
        if self.training:
            for dropout in self.dropouts:
                cast("LockedDropout", dropout).draw(inputs, self.hidden_size)
        if not torch.is_grad_enabled():
            return self(inputs)[0]  # type: ignore[no-any-return]
        self.truncation.measure(lambda: step_bytes(self, self, inputs.detach(), batch_size=self.batch_size))
        outputs, _ = run_chunks(self, inputs, None, self.truncation.chunks(len(inputs)))
        return outputs


class Encoder(nn.Module):
    """Maps padded sequences (time, batch, features) and their lengths to outputs (time, batch, output_size).

    In one direction the layers are run together, and a gradient travels back truncation_length steps through all of
    them at once; what is kept beside is the state before each window. In both directions a layer needs the whole of the
    layer below, so each is run by itself, truncated in its own direction, and the layers' outputs are kept too. Outputs
    at padded steps mean nothing; those at others do not depend on padding (Schuster and Paliwal, 1997).
    """

    def __init__(self, h: Hyperparameters, input_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.output_size = 2 * h.hidden_size if h.bidirectional else h.hidden_size
        self.backward_stacks: nn.ModuleList | None = None
        if h.bidirectional:
            widths = [input_size] + [self.output_size] * (h.num_layers - 1)
            self.forward_stacks = nn.ModuleList(Stack(h, width, 1) for width in widths)
            self.backward_stacks = nn.ModuleList(Stack(h, width, 1) for width in widths)
        else:
            self.forward_stacks = nn.ModuleList([Stack(h, input_size, h.num_layers)])

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Encode; lengths (batch,) are on the inputs' device."""
        return self._run(inputs, lengths, len(self.forward_stacks))

    def _run(self, hidden: Tensor, lengths: Tensor, stacks: int) -> Tensor:
        if self.backward_stacks is None:
            return self.forward_stacks[0].run(hidden) if stacks else hidden  # type: ignore[operator]
        for ahead, back in zip(self.forward_stacks[:stacks], self.backward_stacks[:stacks], strict=True):
            from_end = reverse(back.run(reverse(hidden, lengths)), lengths)  # type: ignore[operator]
            hidden = torch.cat([ahead.run(hidden), from_end], dim=-1)  # type: ignore[operator]
        return hidden

    def horizon(self, inputs: Tensor, lengths: Tensor, steps: int) -> Horizon | None:
        """Measure how the last output of the last layers that run forward depends on their state before it.

        Over the last `steps` steps that all sequences have, or fewer; see `workloads.bptt.horizon`.
        """
        shortest = int(lengths.min())
        before = max(shortest - steps, 0)
        stack = cast("Stack", self.forward_stacks[-1])
        with torch.no_grad():
            hidden = self._run(inputs, lengths, len(self.forward_stacks) - 1)
            state = stack(hidden[:before])[1] if before else None
        window = hidden[before:shortest]
        # Any one direction will do. A norm would not: behind a layer normalisation it is always the same.
        random = torch.Generator().manual_seed(0)
        direction = torch.randn(stack.hidden_size, generator=random).to(window.device)

        def loss(outputs: Tensor, _: Tensor) -> tuple[Tensor, int]:
            return (outputs @ direction).sum(), outputs.shape[1]

        return measure_horizon(stack, loss, inputs=window, targets=window, state=state)


def reverse(sequences: Tensor, lengths: Tensor) -> Tensor:
    """Turn each sequence of a padded batch (time, batch, ...) round within its length; padding stays where it is."""
    steps = torch.arange(len(sequences), device=sequences.device)[:, None]  # (time, 1)
    source = torch.where(steps < lengths, lengths - 1 - steps, steps)  # (time, batch)
    return sequences[source, torch.arange(sequences.shape[1], device=sequences.device)]
