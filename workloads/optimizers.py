"""torch's optimisers, by torch's own names, without torch's compiler.

torch wraps five methods of every optimiser so that its compiler leaves them alone, and to do so loads the compiler when
the first of them is called: 1.2 s of CPU time and 70 MB in every process that trains, for nothing where nothing is
compiled. Here they are called as they were written.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch
from torch import nn

from workloads.hyperparameters import Hyperparameters

FUSED = ("Adam", "AdamW", "SGD", "Adagrad")
"""Optimisers that torch has as one kernel: with large vocabularies Adam's many took a quarter of the time."""
LEFT_ALONE = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def make_optimizer(network: nn.Module, h: Hyperparameters) -> torch.optim.Optimizer:
    """Return the optimiser named by torch's own name."""
    options: dict[str, Any] = {"lr": h.learning_rate, "weight_decay": h.weight_decay}
    if h.optimizer in ("SGD", "RMSprop"):
        options["momentum"] = h.momentum
    if h.optimizer in FUSED:
        options["fused"] = True
    optimizer: torch.optim.Optimizer = without_compiler(h.optimizer)(network.parameters(), **options)
    return optimizer


@cache
def without_compiler(name: str) -> Any:
    """Return the class of that name, its methods as they are below what torch wraps them in for its compiler."""
    whole = getattr(torch.optim, name)
    methods = {method: inspect.unwrap(getattr(whole, method)) for method in LEFT_ALONE}
    # Of what wraps `step` this alone matters; what hooks and profilers need, torch adds when one is made.
    methods["step"] = torch.no_grad()(inspect.unwrap(whole.step))
    return type(name, (whole,), {"__doc__": whole.__doc__, "__module__": __name__, **methods})
