"""What the cost of a trial depends on beside its hyperparameters: the sizes that the workload's data give a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of a stream, unless `longest` is given; tokens where there is a vocabulary, else vectors of `input_size`."""

    output_size: int
    """Numbers that the output layer gives at each step."""
    data_bytes: int
    """The arrays that every worker reads."""
    input_size: int | None = None
    vocabulary_size: int | None = None
    training_steps: int | None = None
    """Steps of the training data, all streams counted; None where they are endless."""
    stream_length: int | None = None
    """Steps of one stream, where the batch size does not decide it."""
    loss_copies: float = 4.0
    """Times that a window's outputs are held at once when its loss is differentiated."""
    evaluation_streams: int = 1
    evaluation_steps: int = 10**9
    """Steps of one of the streams that evaluation reads."""
    evaluation_bytes: int = 0
    """What scoring holds beside the network's own outputs."""
    longest: tuple[int, ...] = ()
    """Steps of the longest whole sequence: of a source and a target where there are two."""

    def window(self, truncation_length: int, batch_size: int) -> int:
        """Return the steps that an update looks at, never more than the stream has."""
        length = self.stream_length
        if length is None and self.training_steps is not None:
            length = max(self.training_steps // batch_size, 1)
        return truncation_length if length is None else min(truncation_length, length)


def bytes_of(arrays: Mapping[str, np.ndarray]) -> int:
    """Return what arrays take."""
    return sum(array.nbytes for array in arrays.values())
