"""One step of a recurrent network as a module of its own: what a device runs that has no time to spare, nor this code.

Its length in time is 1 whatever it is used for, so nothing in it depends on how long a sequence is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workloads.bptt.state import map_state, state_tensors
from workloads.models.cells.lru import LRU
from workloads.models.recurrent import RecurrentNetwork
from workloads.models.transcriber import Transcriber

Window = Callable[[Tensor, Any], tuple[Tensor, Any]]


class Step(nn.Module):
    """Maps inputs of one step, (batch,) tokens or (batch, features), and the state's tensors before it to

    outputs (batch, ...) and the state's tensors behind it. A sequence begins with a state of zeros.
    """

    def __init__(self, network: nn.Module) -> None:
        """ValueError where the network needs more than one step at a time."""
        super().__init__()
        window_of(network)
        self.network = in_real_numbers(network)
        probes = [self._window(draw_inputs(self.network, steps=1, batch=batch), None)[1] for batch in (2, 3)]
        self._form = probes[0]
        pairs = zip(*map(state_tensors, probes), strict=True)
        self.batch_axes = [
            [axis for axis, sizes in enumerate(zip(two.shape, three.shape, strict=True)) if sizes == (2, 3)]
            for two, three in pairs
        ]
        """Of each tensor of the state, the axes along the batch."""

    def _window(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        outputs, after = window_of(self.network)(inputs, state)
        return outputs, after

    def forward(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Run one step; see the class for shapes."""
        given = iter(state)
        outputs, after = self._window(inputs[None], map_state(lambda _: next(given), self._form))
        return (outputs[0], *state_tensors(after))

    def zeros(self, batch: int) -> list[Tensor]:
        """Return the state at the start of sequences."""
        made = []
        for tensor, axes in zip(state_tensors(self._form), self.batch_axes, strict=True):
            sizes = [batch if axis in axes else size for axis, size in enumerate(tensor.shape)]
            made.append(tensor.new_zeros(sizes))
        return made


def window_of(network: nn.Module) -> Window:
    """Return what runs a window behind a state; ValueError where a network reads whole sequences alone."""
    if isinstance(network, Transcriber):
        return network.read
    if isinstance(network, RecurrentNetwork):
        return network
    raise ValueError(
        f"the model is a {type(network).__name__}, which reads whole sequences; what goes step by step can be exported"
    )


def draw_inputs(network: nn.Module, *, steps: int, batch: int) -> Tensor:
    """Return random inputs (steps, batch, ...) of the kind that a network takes, the same ones every time."""
    random = torch.Generator().manual_seed(0)
    if isinstance(embedding := getattr(network, "embedding", None), nn.Embedding):
        return torch.randint(embedding.num_embeddings, (steps, batch), generator=random)
    width = network.encoder.input_size if isinstance(network, Transcriber) else network.input_size
    return torch.randn((steps, batch, int(width)), generator=random)  # type: ignore[arg-type]


def in_real_numbers(network: nn.Module) -> nn.Module:
    """Return a copy whose linear recurrent units need no complex numbers, which few formats know."""
    copied = copy.deepcopy(network).requires_grad_(False).eval()
    for layers in [module for module in copied.modules() if isinstance(module, nn.ModuleList)]:
        for place, layer in enumerate(layers):
            if type(layer) is LRU:
                layers[place] = LRUStep(layer)
    return copied


class LRUStep(nn.Module):
    """One step of an LRU in real numbers; shapes are the LRU's, with a time of 1."""

    real: Tensor
    imaginary: Tensor

    def __init__(self, cell: LRU) -> None:
        super().__init__()
        self.cell = cell
        eigenvalues = torch.polar((-cell.nu.exp()).exp(), cell.theta.exp())
        self.register_buffer("real", eigenvalues.real.clone())
        self.register_buffer("imaginary", eigenvalues.imag.clone())

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run one step."""
        drive = functional.linear(inputs[0], self.cell.from_input)
        drive = drive.reshape(-1, self.cell.hidden_size, 2)  # (batch, hidden, 2)
        before = torch.zeros_like(drive) if state is None else state[0].reshape(drive.shape)
        turned = [
            self.real * before[..., 0] - self.imaginary * before[..., 1],
            self.real * before[..., 1] + self.imaginary * before[..., 0],
        ]
        after = torch.stack(turned, -1) + self.cell.gamma.exp()[:, None] * drive
        pairs = after.flatten(-2)  # (batch, 2 hidden)
        outputs = functional.linear(pairs, self.cell.to_output) + functional.linear(inputs[0], self.cell.past)
        return outputs[None], pairs[None]
