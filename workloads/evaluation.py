"""Evaluation: the loss over a whole held-out stream, the state carried from its first step to its last.

Never with the training window: the validation loss must not depend on the truncation length being swept.
"""

from __future__ import annotations

import torch
from torch import nn

from workloads.bptt.truncation import Loss
from workloads.data.stream import Stream, windows
from workloads.models.cells import State

CHUNK_STEPS = 512
"""Steps run at a time. It bounds memory and does not touch the result."""


def mean_loss(network: nn.Module, loss: Loss, stream: Stream, *, device: torch.device) -> float:
    """Return the mean loss per term over one pass of `stream`."""
    total, terms = torch.zeros((), device=device, dtype=torch.float64), 0
    state: State = None
    training = network.training
    network.eval()
    with torch.no_grad():
        for inputs, targets in windows(stream, CHUNK_STEPS):
            outputs, state = network(torch.from_numpy(inputs).to(device), state)
            window_loss, window_terms = loss(outputs, torch.from_numpy(targets).to(device))
            total += window_loss.double()
            terms += window_terms
    network.train(training)
    return float(total) / max(terms, 1)
