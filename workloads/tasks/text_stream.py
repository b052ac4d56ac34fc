"""A language model fed piece by piece: how likely each token was, what comes next, and texts written token by token."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workloads.data.text import encode, tokenize
from workloads.tasks.stream import NetworkStream, cut_behind_space

NO_TEMPERATURE = 1e-6
"""Below it the likeliest token is all there is, and numbers overflow."""


class TextStream(NetworkStream):
    """Reads any text, in pieces cut anywhere, and can write on from where it has come to."""

    takes = "text"

    def __init__(self, network: nn.Module, vocabulary: Sequence[str], unit: str) -> None:
        super().__init__(network)
        self.vocabulary, self.unit = vocabulary, unit
        self.coming: Tensor | None = None
        """Of the token to come: a logit for each of the vocabulary, (vocabulary,); None before the first."""
        self._begun = ""

    def feed(self, piece: str) -> dict[str, list[Any]]:
        """Return a row for each `token` read: its `log_probability` given all before it (None for the first), and the

        likeliest `next` token with its own. A word that may go on waits for the next piece.
        """
        text = self._begun + piece
        text, self._begun = (text, "") if self.unit == "character" else cut_behind_space(text)
        return self._read(tokenize(text, self.unit))

    def finish(self) -> dict[str, list[Any]]:
        """Read the word that waited; more may be fed behind it."""
        text, self._begun = self._begun, ""
        return self._read(tokenize(text, self.unit))

    def log_probabilities(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Read tokens by their numbers (time,); return log-probabilities of each, and (time, vocabulary) of the next.

        The first token of all has none: NaN.
        """
        before = self.coming
        logits = self.run(numbers[:, None])[:, 0]  # (time, vocabulary)
        self.coming = logits[-1]
        following = torch.log_softmax(logits, -1)
        if before is None:
            before = torch.full_like(self.coming, math.nan)
        known = torch.cat([torch.log_softmax(before, -1)[None], following[:-1]])
        return known.gather(1, numbers[:, None])[:, 0], following

    def write(self, length: int, temperature: float = 0.8, *, seed: int = 0) -> Iterator[str]:
        """Write `length` tokens on, one at a time, and read each; temperature 0 takes the likeliest every time."""
        generator = torch.Generator().manual_seed(seed)  # of its own: a text does not depend on others
        if self.coming is None:
            self.log_probabilities(torch.zeros(1, dtype=torch.int64))
        for _ in range(length):
            assert self.coming is not None
            logits = self.coming.clone()
            logits[0] = -math.inf  # the unknown token is no text
            if temperature < NO_TEMPERATURE:
                number = logits.argmax().reshape(1)
            else:
                weights = torch.softmax((logits - logits.max()) / temperature, 0)
                number = torch.multinomial(weights, 1, generator=generator)
            self.coming = self.run(number[:, None])[-1, 0]
            yield self.vocabulary[int(number)]

    def save(self) -> dict[str, Any]:
        """Return all that is carried from piece to piece."""
        # Cloned: a view would be put away with all the logits of the last piece.
        coming = None if self.coming is None else self.coming.clone()
        return {**super().save(), "coming": coming, "begun": self._begun}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `save` returned; ValueError where that was another model's."""
        super().restore(saved)
        self.coming, self._begun = saved["coming"], saved["begun"]

    def _read(self, tokens: Sequence[str]) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {"token": list(tokens), "log_probability": [], "next": []}
        columns["next_log_probability"] = []
        if not tokens:
            return columns
        numbers = torch.from_numpy(encode(tokens, self.vocabulary).astype(np.int64))
        own, following = self.log_probabilities(numbers)
        likeliest = following[:, 1:].max(-1)  # the unknown token is no text
        columns["log_probability"] = [None if math.isnan(value) else value for value in own.tolist()]
        columns["next"] = [self.vocabulary[1 + number] for number in likeliest.indices.tolist()]
        columns["next_log_probability"] = likeliest.values.tolist()
        return columns
