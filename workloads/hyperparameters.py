"""The hyperparameters of a trial: everything that `train:` may fix and `space:` may sweep.

Pure Python: a sweep file is checked without loading torch.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.options import option, read_options

if TYPE_CHECKING:
    from workloads.protocol import Params

ATTENTIONS = ("additive", "dot")
CELL_TYPES = (
    *("rnn", "rnn_relu", "lstm", "gru"),
    *("layer_norm_lstm", "ind_rnn", "min_gru", "min_lstm", "slstm", "lru"),
    "module:Name",
)
TRUNCATIONS = ("fixed", "random", "unbiased", "adaptive", "full")
WITH_K1 = ("fixed", "adaptive")
"""Schemes whose updates can come more often than their windows are long."""
OPTIMIZERS = ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta")
KERNELS = ("auto", "torch")
SCHEDULES = ("constant", "LinearLR", "CosineAnnealingLR", "ExponentialLR", "StepLR")


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """One setting. Names and meanings are torch's where torch has them."""

    cell_type: str = option("lstm", "the recurrent cell; module:Name for a class of your own", choices=CELL_TYPES)
    hidden_size: int = option(128, "units in each recurrent layer", at_least=1, at_most=65536)
    num_layers: int = option(1, "recurrent layers", at_least=1, at_most=64)
    embedding_size: int | None = option(None, "size of token vectors; null: as hidden_size", at_least=1, at_most=65536)
    dropout: float = option(
        0.0, "probability, on inputs of the upper layers and of the output layer", at_least=0, below=1
    )
    layer_norm: bool = option(
        False, "normalise each recurrent layer's outputs, behind the recurrence; within it: cell_type layer_norm_lstm"
    )
    bidirectional: bool = option(False, "read whole sequences in both directions; speech and translation only")
    attention: str = option("additive", "how a translation is compared with its source", choices=ATTENTIONS)

    truncation: str = option("fixed", "how the way back of gradients is cut", choices=TRUNCATIONS)
    truncation_length: int = option(
        64,
        "steps that a gradient may travel back (k2): always (fixed), on average (random, unbiased), at most (adaptive)",
        at_least=1,
        at_most=10**12,
    )
    k1: int | None = option(None, "steps between updates; null: as truncation_length", at_least=1, at_most=10**12)
    k1_fraction: float | None = option(
        None, "k1 as a part of truncation_length, in its place; to sweep both freely", above=0, at_most=1
    )
    truncation_bias: float = option(
        0.1, "relative bias of the gradient that truncation: adaptive allows", above=0, below=1
    )
    memory_budget_mb: float | None = option(
        None, "for what truncation: full keeps of a sequence; null: as little as one more forward pass allows", above=0
    )

    batch_size: int = option(32, "streams or sequences read side by side", at_least=1, at_most=65536)
    optimizer: str = option("Adam", "a class of torch.optim", choices=OPTIMIZERS)
    learning_rate: float = option(1e-3, "after warm-up", above=0, at_most=1000)
    momentum: float = option(0.0, "for SGD and RMSprop", at_least=0, below=1)
    weight_decay: float = option(0.0, "L2 penalty; decoupled in AdamW", at_least=0, at_most=1000)
    schedule: str = option("constant", "named as in torch.optim.lr_scheduler, over the whole budget", choices=SCHEDULES)
    warmup: float = option(0.0, "part of the budget over which the learning rate rises from 0", at_least=0, below=1)
    max_grad_norm: float | None = option(1.0, "clip the gradient's L2 norm to this; null: never", above=0)

    precision: str = option("fp32", "arithmetic of the forward and backward pass", choices=("fp32", "tf32", "bf16"))
    device: str = option("auto", "auto takes a GPU when the worker has one", choices=("auto", "cpu", "cuda"))
    kernel: str = option(
        "auto",
        "of rnn, gru, lstm, layer_norm_lstm and min_gru on one CPU thread: auto compiles, where there is a compiler",
        choices=KERNELS,
    )
    seed: int = option(0, "of weights, dropout and generated data; the same for all trials", at_least=0, below=2**31)

    sequence_steps: int = option(
        1_000_000, "the budget: steps to consume, all streams counted", at_least=1, at_most=10**15
    )
    evaluations: int = option(10, "points at which all trials are compared, evenly spaced", at_least=1, at_most=100_000)

    @property
    def given_k1(self) -> int | None:
        """Return the steps between updates where they are given, as such or as a part of the truncation length."""
        if self.k1_fraction is not None:
            return max(round(self.k1_fraction * self.truncation_length), 1)
        return self.k1

    @property
    def steps_between_updates(self) -> int:
        """Return k1, which defaults to the truncation length: on average (random, unbiased) or at most (adaptive)."""
        return self.given_k1 or self.truncation_length


def find_module(path: str) -> object | None:
    """Return the place of the module in `module:Name`, without importing it; None where there is none."""
    try:
        return importlib.util.find_spec(path.partition(":")[0])
    except (ImportError, ValueError):
        return None


def read_hyperparameters(
    params: Params, *, longest_window: int | None = None, whole_sequences: bool = False
) -> Hyperparameters:
    """Check one setting, alone and together with the evaluation grid.

    `longest_window` is the length in steps of the sequences, where a workload has a limit that it knows
    beforehand. With `whole_sequences`, an update reads a batch of these, whose lengths only the data tell: `train`
    itself refuses a grid that is too fine for them. Raises ValueError in one line naming the field.
    """
    read = read_options(Hyperparameters, params, "train")
    if ":" in read.cell_type and find_module(read.cell_type) is None:
        raise ValueError(f"train.cell_type: {read.cell_type}: there is no such module on Python's path")
    if read.k1 is not None and read.k1 > read.truncation_length:
        raise ValueError(
            f"train.k1: {read.k1} steps between updates exceed truncation_length ({read.truncation_length}); "
            "steps between would never be learnt from; to sweep both, give k1_fraction instead"
        )
    if read.k1 is not None and read.k1_fraction is not None:
        raise ValueError(f"train.k1_fraction: {read.k1_fraction:g}, but k1 is given too ({read.k1}); give one of them")
    if read.given_k1 is not None and read.truncation not in WITH_K1:
        name = "k1" if read.k1 is not None else "k1_fraction"
        raise ValueError(
            f"train.{name}: {getattr(read, name):g}; truncation: {read.truncation} draws or knows its own windows, so "
            f"leave it out (it goes with {' and '.join(WITH_K1)})"
        )
    if read.truncation == "unbiased" and read.truncation_length < 2:
        raise ValueError(
            "train.truncation_length: 1; truncation: unbiased needs at least 2, or it would cut at every step"
        )
    if whole_sequences:
        return read
    if read.bidirectional:
        raise ValueError("train.bidirectional: a stream is read as it comes, forward; speech and translation alone can")
    check_grid(read, longest_window)
    return read


def check_grid(h: Hyperparameters, longest_window: int | None) -> None:
    """Raise ValueError where an update on windows of a stream passes a point of the evaluation grid.

    `longest_window` is the length of the stream; None where it is not known yet.
    """
    window = longest_window if h.truncation == "full" else h.steps_between_updates
    known = [steps for steps in (window, longest_window) if steps is not None]
    if not known:
        return
    per_update = min(known) * h.batch_size
    interval = h.sequence_steps / h.evaluations
    if per_update > interval:
        raise ValueError(
            f"budget.evaluations: {h.evaluations} leave {interval:.0f} sequence steps between two evaluations, "
            f"but one update of batch_size {h.batch_size} consumes {per_update}; "
            "raise budget.sequence_steps, or lower evaluations, batch_size or truncation_length"
        )


def truncation_length_of(params: Params) -> int | None:
    """Return a trial's truncation length, its default where none is given; None where gradients are never cut."""
    if params.get("truncation") == "full":
        return None
    length: int = params.get("truncation_length", Hyperparameters.__dataclass_fields__["truncation_length"].default)
    return length
