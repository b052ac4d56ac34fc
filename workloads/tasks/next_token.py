"""Predicting the next token: the task in training, and the trained model continuing a prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from workloads.bptt.state import State
from workloads.checkpoint import trained_network
from workloads.data.stream import TokenStream
from workloads.data.text import encode, join, tokenize
from workloads.evaluation import mean_loss
from workloads.hyperparameters import Hyperparameters
from workloads.models.recurrent import RecurrentNetwork
from workloads.tasks.text_stream import NO_TEMPERATURE, TextStream

ROWS_TOGETHER = 64
"""Prompts that are continued together."""


def make_network(h: Hyperparameters, facts: Mapping[str, Any]) -> RecurrentNetwork:
    """Return the network: token numbers in, a logit for each token of the vocabulary out."""
    size = len(facts["vocabulary"])
    return RecurrentNetwork(h, vocabulary_size=size, output_size=size)


class NextTokenTask:
    """Next-token prediction over one long text; see `workloads.training.Task`."""

    def __init__(
        self,
        h: Hyperparameters,
        arrays: Mapping[str, np.ndarray],
        facts: dict[str, Any],
        *,
        evaluation_streams: int,
    ) -> None:
        self.facts = facts
        self.network = make_network(h, facts)
        self.training = TokenStream(arrays["train"], h.batch_size)
        self.validation = TokenStream(arrays["valid"], min(evaluation_streams, len(arrays["valid"]) - 1))

    @staticmethod
    def loss(outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        """Return the summed cross-entropy in nats, and the number of tokens."""
        flat = functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="sum")
        return flat, targets.numel()

    def chance_loss(self, targets: Tensor) -> float:
        """Return the loss of holding all tokens for equally likely."""
        return math.log(len(self.facts["vocabulary"]))

    def evaluate(self, device: torch.device) -> dict[str, float]:
        """Return loss (nats per token), bits per token and perplexity of the held-out text."""
        loss = mean_loss(self.network, self.loss, self.validation, device=device)
        name = "valid_bits_per_character" if self.facts["unit"] == "character" else "valid_bits_per_word"
        return {"valid_loss": loss, name: loss / math.log(2), "valid_perplexity": math.exp(min(loss, 700.0))}


class TextPredictor:
    """A trained language model: prompts in, prompts with their continuation out."""

    def __init__(self, checkpoint: bytes) -> None:
        self.network, self.facts = trained_network(checkpoint, make_network)
        self.vocabulary: list[str] = self.facts["vocabulary"]
        self.unit: str = self.facts["unit"]

    def example(self) -> tuple[dict[str, list[Any]], dict[str, Any]]:
        """Return a prompt of known tokens, and the options."""
        return {"prompt": [join(self.vocabulary[1:4], self.unit)]}, {"length": 100, "temperature": 0.8, "seed": 0}

    def predict(self, columns: Mapping[str, list[Any]], options: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Continue each prompt by `length` tokens; temperature 0 takes the likeliest token every time."""
        if "prompt" not in columns:
            raise ValueError(f"a column `prompt` is needed; given: {', '.join(columns) or 'none'}")
        defaults = self.example()[1]
        chosen = {name: type(default)(options.get(name, default)) for name, default in defaults.items()}
        if chosen["length"] < 0 or not 0 <= chosen["temperature"] < math.inf or not 0 <= chosen["seed"] < 2**63:
            raise ValueError(f"length, temperature and seed must not be negative, nor endless; given: {chosen}")
        missing = [row for row, prompt in enumerate(columns["prompt"], start=1) if not isinstance(prompt, str)]
        if missing:
            raise ValueError(f"prompt: {columns['prompt'][missing[0] - 1]!r} in row {missing[0]} is no text")
        return {"prompt": list(columns["prompt"]), "text": self._texts(columns["prompt"], chosen)}

    def stream(self) -> TextStream:
        """Return the model to be fed piece by piece, to write on where asked to."""
        return TextStream(self.network, self.vocabulary, self.unit)

    def _texts(self, prompts: Sequence[str], chosen: Mapping[str, Any]) -> list[str]:
        cut = [tokenize(prompt, self.unit) for prompt in prompts]
        rows = [encode(tokens, self.vocabulary).tolist() if tokens else [0] for tokens in cut]
        texts = [""] * len(rows)
        by_length = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        for start in range(0, len(rows), ROWS_TOGETHER):
            places = by_length[start : start + ROWS_TOGETHER]
            batch = continued(self.network, [rows[place] for place in places], **chosen)
            for place, made in zip(places, batch, strict=True):
                texts[place] = self._joined(prompts[place], [self.vocabulary[number] for number in made])
        return texts

    def _joined(self, prompt: str, made: Sequence[str]) -> str:
        if not made:
            return prompt
        between = " " if self.unit == "word" and prompt and prompt[-1] not in " \n" and made[0] != "\n" else ""
        return prompt + between + join(made, self.unit)


@torch.inference_mode()
def continued(
    network: nn.Module, prompts: Sequence[Sequence[int]], *, length: int, temperature: float, seed: int
) -> list[list[int]]:
    """Return `length` tokens behind each prompt of one or more.

    Prompts are read and continued together: while longer ones are still read, shorter ones go on already. Each has a
    generator of its own, so that a text does not depend on the rows beside it (but for what rounding may do).
    """
    generators = [torch.Generator().manual_seed(seed) for _ in prompts]
    rows, lengths = [list(prompt) for prompt in prompts], [len(prompt) for prompt in prompts]
    inputs = torch.tensor([row[: min(lengths)] for row in rows]).T  # (time, rows)
    state: State = None
    for place in range(min(lengths), max(lengths) + length if length else 0):
        outputs, state = network(inputs, state)
        logits = outputs[-1]  # (rows, vocabulary)
        logits[:, 0] = -math.inf  # the unknown token is no text
        coldest = temperature < NO_TEMPERATURE
        scores = logits if coldest else torch.softmax((logits - logits.amax(-1, keepdim=True)) / temperature, -1)
        for row, score, generator in zip(rows, scores, generators, strict=True):
            if place == len(row):
                row.append(int(score.argmax() if coldest else torch.multinomial(score, 1, generator=generator)))
        inputs = torch.tensor([[row[place] for row in rows]])
    return [row[read : read + length] for row, read in zip(rows, lengths, strict=True)]
