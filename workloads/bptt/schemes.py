"""The truncation scheme that `train.truncation` names."""

from __future__ import annotations

from torch import nn

from workloads.bptt.adaptive import AdaptiveTruncation
from workloads.bptt.fixed import FixedTruncation
from workloads.bptt.full import FullTruncation
from workloads.bptt.random_length import RandomTruncation
from workloads.bptt.truncation import Truncation
from workloads.bptt.unbiased import UnbiasedTruncation
from workloads.hyperparameters import Hyperparameters


def make_truncation(h: Hyperparameters) -> Truncation:
    """Return the scheme."""
    if h.truncation == "random":
        return RandomTruncation(h.seed, truncation_length=h.truncation_length)
    if h.truncation == "unbiased":
        return UnbiasedTruncation(h.seed, truncation_length=h.truncation_length)
    if h.truncation == "adaptive":
        return AdaptiveTruncation(h.seed, longest=h.truncation_length, bias=h.truncation_bias, k1=h.given_k1)
    if h.truncation == "full":
        return FullTruncation(h.seed, memory_budget_mb=h.memory_budget_mb)
    return FixedTruncation(h.seed, truncation_length=h.truncation_length, k1=h.given_k1)


def truncations_of(network: nn.Module) -> list[Truncation]:
    """Return the schemes by which parts of a network cut their own way back."""
    found = [getattr(module, "truncation", None) for module in network.modules()]
    return [truncation for truncation in found if isinstance(truncation, Truncation)]
