"""Checkpoints as bytes: plain values and tensors, loaded without unpickling anything."""

from __future__ import annotations

import dataclasses
import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from workloads.hyperparameters import Hyperparameters
from workloads.protocol import UnusableCheckpoint

Network = TypeVar("Network", bound=nn.Module)

FORMAT = 3


def pack(content: dict[str, Any]) -> bytes:
    """Serialise plain values, containers and tensors."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **content}, buffer)
    return buffer.getvalue()


def unpack(content: bytes, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `pack` wrote; UnusableCheckpoint where it is torn, none at all, or of another format."""
    try:
        read: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except (RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise UnusableCheckpoint(f"not a whole checkpoint ({len(content)} bytes): {error}") from error
    if not isinstance(read, dict) or read.get("format") != FORMAT:
        raise UnusableCheckpoint(f"a checkpoint of format {FORMAT} was expected")
    return read


def trained_network(
    content: bytes, make: Callable[[Hyperparameters, Mapping[str, Any]], Network]
) -> tuple[Network, dict[str, Any]]:
    """Return the network in a checkpoint, ready to predict on a CPU, and the facts beside it.

    In full precision, whatever it was trained in: not every CPU has recurrent layers in bfloat16.
    """
    read = unpack(content)
    facts: dict[str, Any] = read["facts"]
    network = make(dataclasses.replace(Hyperparameters(**read["hyperparameters"]), precision="fp32"), facts)
    network.load_state_dict(read["network"])
    return network.eval(), facts
