"""Checkpoints as bytes: plain values and tensors, loaded without unpickling anything."""

from __future__ import annotations

import io
import pickle
from typing import Any

import torch

FORMAT = 1


def pack(content: dict[str, Any]) -> bytes:
    """Serialise plain values, containers and tensors."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **content}, buffer)
    return buffer.getvalue()


def unpack(content: bytes, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `pack` wrote; ValueError where it is torn, not a checkpoint, or of another format."""
    try:
        read: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except (RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"not a whole checkpoint ({len(content)} bytes): {error}") from error
    if not isinstance(read, dict) or read.get("format") != FORMAT:
        raise ValueError(f"a checkpoint of format {FORMAT} was expected")
    return read
