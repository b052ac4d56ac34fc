from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from workloads.hyperparameters import OPTIMIZERS, Hyperparameters
from workloads.optimizers import make_optimizer, without_compiler

TRAIN = """
import sys
import numpy as np
from workloads.hyperparameters import Hyperparameters
from workloads.tasks.next_token import NextTokenTask
from workloads.training import train

class Nowhere:
    def write(self, name, content):
        return name

tokens = np.arange(2000, dtype=np.int32) % 50
h = Hyperparameters(hidden_size=16, batch_size=8, device="cpu", sequence_steps=2048, evaluations=2)
facts = {"vocabulary": [str(number) for number in range(50)], "unit": "word"}
task = NextTokenTask(h, {"train": tokens, "valid": tokens}, facts, evaluation_streams=4)
assert len(list(train(task, h, Nowhere()))) == 2
print(*{"torch._dynamo", "sympy"} & set(sys.modules))
"""


def step(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)
    network(torch.linspace(-1, 1, 12).view(3, 4)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_steps_as_torchs_own_does_to_the_last_bit(name: str) -> None:
    h = Hyperparameters(optimizer=name, learning_rate=0.01, weight_decay=0.1)
    networks = []
    for has_compiler in (False, True):
        torch.manual_seed(0)
        network = nn.Linear(4, 2)
        optimizer = make_optimizer(network, h)
        if has_compiler:
            given = optimizer.defaults
            options = {key: given[key] for key in ("lr", "weight_decay", "momentum", "fused") if key in given}
            optimizer = getattr(torch.optim, name)(network.parameters(), **options)
        for _ in range(3):
            step(network, optimizer)
        again = type(optimizer)(network.parameters(), lr=0.01)
        again.load_state_dict(optimizer.state_dict())
        step(network, again)
        networks.append(network)
    ours, torchs = networks
    assert all(torch.equal(mine, its) for mine, its in zip(ours.parameters(), torchs.parameters(), strict=True))


def test_a_hook_on_a_step_is_called() -> None:
    network = nn.Linear(4, 2)
    optimizer = without_compiler("SGD")(network.parameters(), lr=0.1)
    seen = []
    optimizer.register_step_post_hook(lambda *_: seen.append(1))
    step(network, optimizer)
    assert seen == [1]


def test_training_loads_neither_torchs_compiler_nor_its_symbolic_algebra() -> None:
    done = subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
