"""Our training loop against the same model in a bare torch loop: sequence steps per second, in pairs.

Both sides train one LSTM layer on the Python reference with the same batches and the same optimiser. Ours also clips,
measures norms, watches for divergence and keeps its position; the bare loop clips and nothing else.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import workloads
from workloads.hyperparameters import read_hyperparameters
from workloads.protocol import Dataset
from workloads.tasks.next_token import NextTokenTask
from workloads.training import TrainingRun

PAIRS = 7
PARAMS: dict[str, Any] = {"truncation_length": 64, "batch_size": 32, "sequence_steps": 10_000_000}


class Bare(nn.Module):
    """What one would write by hand."""

    def __init__(self, cell_type: str, vocabulary_size: int, hidden_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, hidden_size)
        self.recurrent = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell_type](hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, vocabulary_size)


def bare_loop(dataset: Dataset, cell_type: str, hidden_size: int, steps: int) -> float:
    """Return sequence steps per second."""
    length, batch = PARAMS["truncation_length"], PARAMS["batch_size"]
    tokens = torch.from_numpy(dataset.arrays["train"].astype("int64"))
    streams = (len(tokens) - 1) // batch
    inputs = tokens[: streams * batch].view(batch, streams).t().contiguous()
    targets = tokens[1 : streams * batch + 1].view(batch, streams).t().contiguous()
    model = Bare(cell_type, len(dataset.facts["vocabulary"]), hidden_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    state: Any = None
    began, done, position = time.perf_counter(), 0, 0
    while done < steps:
        if position + length > streams:
            position, state = 0, None
        optimizer.zero_grad(set_to_none=True)
        hidden, state = model.recurrent(model.embedding(inputs[position : position + length]), state)
        wanted = targets[position : position + length]
        loss = functional.cross_entropy(model.output(hidden).flatten(0, 1), wanted.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        state = tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()
        position += length
        done += length * batch
    return done / (time.perf_counter() - began)


def our_loop(dataset: Dataset, cell_type: str, hidden_size: int, steps: int) -> float:
    """Return sequence steps per second."""
    h = read_hyperparameters({**PARAMS, "cell_type": cell_type, "hidden_size": hidden_size})
    run = TrainingRun(NextTokenTask(h, dataset.arrays, dict(dataset.facts), evaluation_streams=16), h)
    began = time.perf_counter()
    run.train_until(steps)
    return run.sequence_steps / (time.perf_counter() - began)


def main() -> None:
    """Print a table: medians of the pairs and the spread of their ratio."""
    torch.set_num_threads(1)
    dataset = workloads.load("language_model", {}).prepare()
    print(f"\nTraining loop, sequence steps per second, one CPU thread, torch {torch.__version__}, {PAIRS} pairs each")
    print(f"{'cell':>5} {'hidden':>7} {'bare torch':>11} {'ours':>9} {'ratio':>6}  {'(least - most)'}")
    for cell_type, hidden_size, steps in (
        ("lstm", 64, 240_000),
        ("lstm", 256, 40_000),
        ("gru", 128, 80_000),
        ("rnn", 128, 160_000),
    ):
        for side in (bare_loop, our_loop):
            side(dataset, cell_type, hidden_size, steps // 4)  # warm up
        pairs = []
        for index in range(PAIRS):
            order = (bare_loop, our_loop) if index % 2 == 0 else (our_loop, bare_loop)
            speed = {side.__name__: side(dataset, cell_type, hidden_size, steps) for side in order}
            pairs.append((speed["bare_loop"], speed["our_loop"]))
        ratios = sorted(ours / bare for bare, ours in pairs)
        print(
            f"{cell_type:>5} {hidden_size:>7} {median(bare for bare, _ in pairs):>11,.0f} "
            f"{median(ours for _, ours in pairs):>9,.0f} {median(ratios):>6.3f}  ({ratios[0]:.3f} - {ratios[-1]:.3f})"
        )
