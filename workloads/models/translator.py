"""The translator: a recurrent encoder of the source, a recurrent decoder of the target, and attention between them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from workloads.bptt.state import State
from workloads.models.encoder import Encoder, LockedDropout, Stack

if TYPE_CHECKING:
    from workloads.hyperparameters import Hyperparameters

CHUNK_NUMBERS = 2**24
"""Attention and output layer are run on so many target steps at a time that no tensor has more numbers than this."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch of sources, ready to be looked at."""

    values: Tensor  # (source time, batch, encoder outputs)
    keys: Tensor  # (source time, batch, hidden)
    padding: Tensor  # (source time, batch), True where there is no token
    summary: Tensor  # (batch, embedding)

    def repeated(self, times: int) -> Encoded:
        """Return each source `times` times, one behind the other."""
        values, keys, padding = (
            part.repeat_interleave(times, dim=1) for part in (self.values, self.keys, self.padding)
        )
        return Encoded(values, keys, padding, self.summary.repeat_interleave(times, dim=0))


class Translator(nn.Module):
    """Scores target sentences token by token, given source sentences.

    The decoder's steps see the tokens before their own and a summary of the source (Cho et al., 2014, "Learning phrase
    representations using RNN encoder-decoder"), which any type of cell can be given. Attention looks from all target
    steps at all source steps at once and is not fed back into the decoder (Luong, Pham and Manning, 2015, "Effective
    approaches to attention-based neural machine translation"), so that recurrent layers run as fused kernels.
    """

    def __init__(self, h: Hyperparameters, *, source_vocabulary: int, target_vocabulary: int) -> None:
        super().__init__()
        embedding_size = h.embedding_size or h.hidden_size
        self.source_embedding = nn.Embedding(source_vocabulary, embedding_size)
        self.target_embedding = nn.Embedding(target_vocabulary, embedding_size)
        self.encoder = Encoder(h, embedding_size)
        self.summarise = nn.Linear(self.encoder.output_size, embedding_size)
        self.decoder = Stack(h, embedding_size, h.num_layers)
        self.attention = Attention(h, self.encoder.output_size)
        self.combine = nn.Linear(self.encoder.output_size + h.hidden_size, h.hidden_size)
        self.output = nn.Linear(h.hidden_size, target_vocabulary)
        self.source_dropout, self.target_dropout, self.output_dropout = (LockedDropout(h.dropout) for _ in range(3))
        self.embedding_size, self.hidden_size = embedding_size, h.hidden_size
        for embedding in (self.source_embedding, self.target_embedding):
            nn.init.normal_(embedding.weight, std=1 / math.sqrt(embedding_size))

    def encode(self, source: Tensor, lengths: Tensor) -> Encoded:
        """Read sources (time, batch), padded, of `lengths` (batch,), each at least 1."""
        values = self.encoder(self.embed_source(source), lengths)  # (time, batch, outputs)
        padding = torch.arange(len(source), device=source.device)[:, None] >= lengths  # (time, batch)
        # Encoders say nothing of padded steps; a number that is none would survive a weight of zero.
        values = values.masked_fill(padding[..., None], 0.0)
        summary = torch.tanh(self.summarise(values.sum(0) / lengths[:, None]))  # (batch, embedding)
        return Encoded(values, self.attention.keys(values), padding, summary)

    def embed_source(self, source: Tensor) -> Tensor:
        """Return what the encoder reads: (time, batch, embedding)."""
        embedded: Tensor = self.source_embedding(source)
        if self.training:
            self.source_dropout.draw(embedded, self.embedding_size)
        return self.source_dropout(embedded)  # type: ignore[no-any-return]

    def decode(self, before: Tensor, encoded: Encoded) -> Tensor:
        """Run the decoder over whole targets in training; `before` (time, batch) are the tokens before each step.

        Returns (time, batch, hidden); nothing of the source but its summary has been seen yet.
        """
        embedded = self.target_embedding(before)
        if self.training:
            self.target_dropout.draw(embedded, self.embedding_size)
            self.output_dropout.draw(embedded, self.hidden_size)
        return self.decoder.run(self.target_dropout(embedded) + encoded.summary)

    def step(self, tokens: Tensor, state: State, encoded: Encoded) -> tuple[Tensor, State]:
        """Go one step on: the tokens before it (batch,) to log-probabilities (batch, vocabulary) and the state."""
        hidden, state = self.decoder(self.target_embedding(tokens)[None] + encoded.summary, state)
        logits = self.output(self.look(hidden, encoded))[0]  # (batch, vocabulary)
        return torch.log_softmax(logits, dim=-1), state

    def look(self, hidden: Tensor, encoded: Encoded) -> Tensor:
        """Let decoder outputs look at the source: (time, batch, hidden) before and after."""
        context = self.attention(hidden, encoded)
        return self.output_dropout(torch.tanh(self.combine(torch.cat([context, hidden], -1))))  # type: ignore[no-any-return]

    def loss(self, hidden: Tensor, encoded: Encoded, targets: Tensor, *, present: Tensor, smoothing: float) -> Tensor:
        """Return the summed cross-entropy in nats of targets (time, batch) at the steps that are `present`.

        Steps are taken in chunks that are run again on the way back, so that neither the attention of all steps to
        all steps nor the logits of all steps are ever kept (Chen et al., 2016).
        """
        widest = max(encoded.keys.numel(), hidden.shape[1] * self.output.out_features)
        chunk = max(CHUNK_NUMBERS // widest, 1)

        def of(start: int) -> Callable[[Tensor, Encoded], Tensor]:
            def run(part: Tensor, encoded: Encoded) -> Tensor:
                chosen = present[start : start + chunk]
                logits = self.output(self.look(part, encoded)[chosen])  # (steps present, vocabulary)
                return functional.cross_entropy(
                    logits, targets[start : start + chunk][chosen], reduction="sum", label_smoothing=smoothing
                )

            return run

        if chunk >= len(hidden):
            return of(0)(hidden, encoded)
        total = hidden.new_zeros(())
        for start in range(0, len(hidden), chunk):
            part = hidden[start : start + chunk]
            total = total + checkpoint(of(start), part, encoded, use_reentrant=False, preserve_rng_state=False)
        return total


class Attention(nn.Module):
    """Compares decoder outputs with encoder outputs and mixes the latter by how well they fit.

    `additive`: Bahdanau, Cho and Bengio (2015), "Neural machine translation by jointly learning to align and
    translate"; `dot`: a dot product with a linear map of the encoder's outputs (Luong et al., 2015, `general`), divided
    by the square root of its width.
    """

    def __init__(self, h: Hyperparameters, source_size: int) -> None:
        super().__init__()
        self.kind, self.width = h.attention, h.hidden_size
        self.keys = nn.Linear(source_size, h.hidden_size, bias=False)
        if self.kind == "additive":
            self.query = nn.Linear(h.hidden_size, h.hidden_size)
            self.score = nn.Linear(h.hidden_size, 1, bias=False)

    def forward(self, hidden: Tensor, encoded: Encoded) -> Tensor:
        """Return contexts (target time, batch, encoder outputs) of decoder outputs (target time, batch, hidden)."""
        if self.kind == "additive":
            compared = torch.tanh(
                self.query(hidden)[:, None] + encoded.keys
            )  # (target time, source time, batch, width)
            scores = self.score(compared)[..., 0].permute(2, 0, 1)  # (batch, target time, source time)
        else:
            scores = torch.bmm(hidden.transpose(0, 1), encoded.keys.permute(1, 2, 0)) / math.sqrt(self.width)
        scores = scores.masked_fill(encoded.padding.T[:, None], -math.inf)
        return torch.bmm(scores.softmax(-1), encoded.values.transpose(0, 1)).transpose(0, 1)
