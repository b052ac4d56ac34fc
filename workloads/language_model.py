"""Language modelling: predict the next character or word of a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workloads.cost.sizes import Sizes
from workloads.data.fingerprint import make_dataset
from workloads.data.text import encode, read_text, tokenize, vocabulary_of
from workloads.hyperparameters import read_hyperparameters
from workloads.options import option

if TYPE_CHECKING:
    from workloads.hyperparameters import Hyperparameters
    from workloads.protocol import Dataset, Params, Predictor, Progress, Storage
    from workloads.updates import Task

PARTS = ("train", "valid")
EVALUATION_STREAMS = 16
"""Held-out text is read in this many pieces, whatever the batch size in training."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """Characters or words of one text; validation on its last part."""

    text: str = option("python-reference", "a name from `bptt data list`, or the path of a text file (UTF-8)")
    unit: str = option("character", "what a token is", choices=("character", "word"))
    valid_part: float = option(0.1, "part of the text, at its end, that is held out", above=0, below=1)
    vocabulary_size: int = option(
        10_000,
        "most frequent tokens kept; the others become one unknown token",
        at_least=2,
        at_most=1_000_000,
    )

    @property
    def objectives(self) -> Mapping[str, str]:
        """Return the metrics that a sweep can aim at: all fall as the model learns."""
        bits = "valid_bits_per_character" if self.unit == "character" else "valid_bits_per_word"
        return dict.fromkeys(("valid_loss", bits, "valid_perplexity"), "minimize")

    def prepare(self) -> Dataset:
        """Read the text, build the vocabulary from the training part, number the tokens."""
        text, source = read_text(self.text)
        tokens = tokenize(text, self.unit)
        cut = int(len(tokens) * (1 - self.valid_part))
        if cut < 2 or len(tokens) - cut < 2:
            raise ValueError(
                f"workload.text: {self.text} has {len(tokens)} {self.unit}s, too few to train and validate on"
            )
        vocabulary = vocabulary_of(tokens[:cut], self.vocabulary_size)
        if len(vocabulary) < 2:
            raise ValueError(f"workload.text: the training part of {self.text} has no {self.unit} to learn")
        numbers = encode(tokens, vocabulary)
        return make_dataset(
            name=f"{self.text} by {self.unit}",
            arrays=dict(zip(PARTS, (numbers[:cut], numbers[cut:]), strict=True)),
            facts={"vocabulary": vocabulary, "unit": self.unit},
            source=source,
            baselines={"unigram/valid_loss": unigram_loss(numbers[:cut], numbers[cut:], len(vocabulary))},
        )

    def check(self, params: Params) -> None:
        """Raise ValueError where `params` cannot be trained."""
        read_hyperparameters(params)

    @staticmethod
    def sizes(dataset: Dataset) -> Sizes:
        """Return what the cost of a trial depends on beside its hyperparameters."""
        vocabulary, (train, valid) = len(dataset.facts["vocabulary"]), (dataset.arrays[name] for name in PARTS)
        streams = min(EVALUATION_STREAMS, len(valid) - 1)
        return Sizes(
            output_size=vocabulary,
            vocabulary_size=vocabulary,
            data_bytes=train.nbytes + valid.nbytes,
            training_steps=len(train) - 1,
            evaluation_streams=streams,
            evaluation_steps=(len(valid) - 1) // streams,
        )

    def begin(self, params: Params, dataset: Dataset) -> tuple[Task, Hyperparameters]:
        """Return what training is given; its network's weights come from the seed."""
        # torch takes two seconds to load, and checking a sweep file must not wait for it.
        import torch

        from workloads.tasks.next_token import NextTokenTask

        h = read_hyperparameters(params)
        torch.manual_seed(h.seed)
        return NextTokenTask(h, dataset.arrays, dict(dataset.facts), evaluation_streams=EVALUATION_STREAMS), h

    def train(
        self, params: Params, dataset: Dataset, storage: Storage, resume_from: str | None = None
    ) -> Iterator[Progress]:
        """Train one trial; see `workloads.training.train`."""
        from workloads.training import train

        yield from train(*self.begin(params, dataset), storage, resume_from)

    def predictor(self, checkpoint: bytes) -> Predictor:
        """Return a model that continues prompts."""
        from workloads.tasks.next_token import TextPredictor

        return TextPredictor(checkpoint)


def unigram_loss(train: np.ndarray, valid: np.ndarray, size: int) -> float:
    """Return the loss in nats per token of guessing by frequency alone, counts smoothed by 1."""
    counts = np.bincount(train, minlength=size) + 1.0
    return float(-np.log(counts / counts.sum())[valid].mean())
