"""How much memory a network's graph keeps for the way back, measured on a few steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from workloads.bptt.chunks import ChunkNetwork
from workloads.bptt.full import StepBytes
from workloads.bptt.state import State, map_state, state_tensors

SHORT, LONG = 8, 72
"""Steps of the two runs whose difference is what each step adds; kernels keep memory in blocks of many steps."""


def step_bytes(
    module: nn.Module, run: ChunkNetwork, inputs: Tensor, *, batch_size: int, state: State = None
) -> StepBytes:
    """Measure what `run`, which uses `module`, keeps for each step of a batch of `batch_size`, weights not counted.

    It is measured on `inputs` (time, batch, ...), whose batch may be smaller: the last of an epoch.

    Where there are too few steps to tell them from what is kept once, all is counted as theirs.
    """
    long = min(LONG, len(inputs))
    short = SHORT if long >= 2 * SHORT else 0
    with torch.random.fork_rng([inputs.device] if inputs.is_cuda else []):
        saved, after = _saved(module, run, inputs[:long], state)
        if short:
            saved = max(saved - _saved(module, run, inputs[:short], state)[0], 0)
    kept = sum(tensor.numel() * tensor.element_size() for tensor in state_tensors(after))
    share = batch_size / inputs.shape[1]
    return StepBytes(max(share * saved / (long - short), 1.0), share * kept)


def _saved(module: nn.Module, run: ChunkNetwork, inputs: Tensor, state: State) -> tuple[int, State]:
    weights = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs, after = run(inputs, state)
        # Alive until everything is counted: storages of what is let go of come round again under the same address.
        kept = (outputs, after)
    return sum(found.values()), map_state(Tensor.detach, kept[1])
