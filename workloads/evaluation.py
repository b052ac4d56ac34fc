"""Evaluation: the loss over a whole held-out stream, the state carried from its first step to its last.

Never with the training window: the validation loss must not depend on the truncation length being swept.
"""

from __future__ import annotations

import torch

from workloads.bptt.state import State
from workloads.bptt.windows import Loss
from workloads.data.stream import Stream, windows
from workloads.device import to_device
from workloads.evaluation_window import evaluation_steps
from workloads.models.recurrent import RecurrentNetwork


def mean_loss(network: RecurrentNetwork, loss: Loss, stream: Stream, *, device: torch.device) -> float:
    """Return the mean loss per term over one pass of `stream`."""
    total, terms = torch.zeros((), device=device, dtype=torch.float64), 0
    state: State = None
    hidden_size, output_size = network.output.in_features, network.output.out_features
    on_gpu = device.type == "cuda"
    steps = evaluation_steps(stream.batch_size, hidden_size=hidden_size, output_size=output_size, on_gpu=on_gpu)
    training = network.training
    network.eval()
    with torch.no_grad():
        for inputs, targets in windows(stream, steps):
            outputs, state = network(to_device(inputs, device), state)
            window_loss, window_terms = loss(outputs, to_device(targets, device))
            total += window_loss.double()
            terms += window_terms
    network.train(training)
    return float(total) / max(terms, 1)
