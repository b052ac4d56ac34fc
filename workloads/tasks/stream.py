"""What all streams share: a network whose state goes from piece to piece, and can be put away and taken up again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from workloads.bptt.state import State, map_state

Window = Callable[[Tensor, State], tuple[Tensor, State]]
"""Maps inputs (time, batch, ...) and the state before them to outputs and the state behind them."""


class NetworkStream:
    """Carries a network's state from window to window; see `workloads.protocol.Stream`."""

    def __init__(self, network: nn.Module, window: Window | None = None) -> None:
        self._network = network
        self._window: Window = window or network
        self.state: State = None

    @torch.no_grad()
    def run(self, inputs: Tensor) -> Tensor:
        """Return the outputs of the steps that follow, (time, batch, ...), and carry the state behind them."""
        outputs, self.state = self._window(inputs, self.state)
        return outputs

    def save(self) -> dict[str, Any]:
        """Return the carried state: tensors, tuples of them, and plain values."""
        return {"model": fingerprint(self._network), "state": map_state(torch.clone, self.state)}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `save` returned; ValueError where that was another model's."""
        if saved.get("model") != fingerprint(self._network):
            raise ValueError("the saved state is another model's; begin a new one, or stream with the model it is of")
        self.state = saved["state"]


def fingerprint(network: nn.Module) -> str:
    """Return what tells a network's weights from any other's, the first 16 hexadecimal digits of a SHA-256."""
    digest = hashlib.sha256()
    for name, weight in network.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def cut_behind_space(text: str) -> tuple[str, str]:
    """Cut a text behind its last space or line break: what is whole, and the word that may go on."""
    stop = max(text.rfind(" "), text.rfind("\n")) + 1
    return text[:stop], text[stop:]


def as_rows(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Return a table of columns row by row."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
