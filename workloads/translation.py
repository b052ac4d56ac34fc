"""Translation: sentences of one language into another, or any short text into another that depends on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.cost.sizes import Sizes, bytes_of
from workloads.data.catalogue import locate
from workloads.data.fingerprint import make_dataset
from workloads.data.sentence_pairs import PARTS, Pairs, parts_of, read_pairs
from workloads.data.text import pack_lines
from workloads.data.translation_scores import METRICS, signatures, translation_scores
from workloads.data.vocabulary import END, Vocabulary, learn_vocabulary
from workloads.hyperparameters import read_hyperparameters
from workloads.options import option

if TYPE_CHECKING:
    from workloads.hyperparameters import Hyperparameters
    from workloads.protocol import Dataset, Params, Predictor, Progress, Storage
    from workloads.updates import Task

DATES = "dates"
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Translation:
    """Sentence pairs; validation and test are of source sentences that training never meets. A step is a token."""

    corpus: str = option(
        DATES,
        "a name from `bptt data list`, or the path of a text file (UTF-8, also in a zip) of lines source, tab, target; "
        "with target_file, of sources alone",
    )
    target_file: str | None = option(None, "path of the translations, line by line those of corpus")
    reverse: bool = option(False, "swap source and target")
    unit: str | None = option(
        None,
        "what a token is; null: character for dates, else subword",
        choices=("subword", "word", "character"),
    )
    vocabulary_size: int = option(4000, "most tokens of each side", at_least=8, at_most=1_000_000)
    lowercase: bool = option(False, "take both sides in small letters")
    max_length: int = option(100, "pairs with more tokens on a side are left out", at_least=1, at_most=100_000)
    valid_part: float = option(0.02, "part of the source sentences to validate on", above=0, below=1)
    test_part: float = option(0.02, "part of the source sentences for the test", at_least=0, below=1)
    most_evaluated: int = option(
        2000, "sentences of each held-out part that are scored at most; the others are left out", at_least=1
    )
    label_smoothing: float = option(0.0, "probability spread over all tokens in training", at_least=0, below=1)
    beam_width: int = option(
        1, "above 1, evaluations search with a beam too (valid_beam_bleu)", at_least=1, at_most=100
    )

    def __post_init__(self) -> None:
        """Raise ValueError, naming the field, where options do not go together."""
        if self.valid_part + self.test_part >= 1:
            raise ValueError("workload.valid_part: with test_part it leaves nothing to train on")
        if self.corpus == DATES and self.target_file is not None:
            raise ValueError("workload.target_file: dates have their targets already; name a file of sources in corpus")

    @property
    def objectives(self) -> Mapping[str, str]:
        """Return the metrics that a sweep can aim at.

        The loss comes first: BLEU is 0 for every trial early on, where a pruner has to tell them apart.
        """
        beam = {f"valid_beam_{name}": way for name, way in METRICS.items()} if self.beam_width > 1 else {}
        scores = {f"valid_{name}": way for name, way in METRICS.items()}
        return {"valid_loss": "minimize", "valid_perplexity": "minimize", **scores, **beam}

    def prepare(self) -> Dataset:
        """Read the pairs, part them by their sources, learn both vocabularies from the training part, number tokens."""
        signature = signatures()  # first of all: what is missing is said before the work
        pairs, source = self._read()
        members = parts_of(pairs.sources, valid_part=self.valid_part, test_part=self.test_part)
        members = {
            part: numbers if part == "train" else numbers[: self.most_evaluated] for part, numbers in members.items()
        }
        if len(members["train"]) < 2:
            raise ValueError(f"workload.corpus: {self.corpus} has {len(pairs.sources)} pairs, too few to train on")
        learnt, kept, tokens = self._tokenise(pairs, members)
        held_out = {part: [pairs.targets[number] for number in kept[part]] for part in ("valid", "test")}
        sources = {part: [pairs.sources[number] for number in kept[part]] for part in ("valid", "test")}
        skipped = pairs.describe_skipped()
        sizes = [len(Vocabulary(model, self._unit)) for model in learnt]
        return make_dataset(
            name=f"{self.corpus} by {self._unit}",
            arrays={
                **tokens,
                "references": pack_lines([*held_out["valid"], *held_out["test"]]),
            },
            facts={
                "unit": self._unit,
                "lowercase": self.lowercase,
                "vocabularies": learnt,
                "vocabulary_sizes": sizes,
                "label_smoothing": self.label_smoothing,
                "beam_width": self.beam_width,
                "signatures": signature,
                "skipped": dict(pairs.skipped),
                "example": sources["valid"][:EXAMPLES],
            },
            source="; ".join([source, *([skipped] if skipped else []), f"BLEU {signature['bleu']}"]),
            baselines={**_copied(sources, held_out), "unigram/valid_loss": _unigram_loss(tokens, sizes[1])},
        )

    @property
    def _unit(self) -> str:
        return self.unit or ("character" if self.corpus == DATES else "subword")

    def _read(self) -> tuple[Pairs, str]:
        if self.corpus == DATES:
            from workloads.data.dates import date_pairs

            pairs, source = Pairs(), "dates written in many languages (package babel)"
            for text, iso in date_pairs():
                pairs.add(iso, text) if self.reverse else pairs.add(text, iso)
        else:
            path, source = locate(self.corpus, "workload.corpus")
            target = None if self.target_file is None else locate(self.target_file, "workload.target_file")[0]
            pairs = read_pairs(path, target, reverse=self.reverse)
        if self.lowercase:
            pairs.sources, pairs.targets = ([text.lower() for text in side] for side in (pairs.sources, pairs.targets))
        return pairs, source

    def _tokenise(
        self, pairs: Pairs, members: Mapping[str, Sequence[int]]
    ) -> tuple[list[str], dict[str, list[int]], dict[str, np.ndarray]]:
        """Return both vocabularies, the pairs of each part that are not too long, and their tokens as plain arrays."""
        sides = (pairs.sources, pairs.targets)
        learnt = [
            learn_vocabulary([side[number] for number in members["train"]], self._unit, self.vocabulary_size)
            for side in sides
        ]
        encoded = [Vocabulary(model, self._unit).encode(side) for model, side in zip(learnt, sides, strict=True)]
        kept = {
            part: [number for number in numbers if max(len(side[number]) for side in encoded) <= self.max_length]
            for part, numbers in members.items()
        }
        pairs.skipped[f"more than {self.max_length} tokens"] = sum(map(len, members.values())) - sum(
            map(len, kept.values())
        )
        for part in ("train", "valid"):
            if not kept[part]:
                raise ValueError(
                    f"workload.corpus: {self.corpus} has nothing in the {part} part; {pairs.describe_skipped()}"
                )
        order = [number for part in PARTS for number in kept[part]]
        arrays = {"parts": np.repeat(np.arange(len(PARTS), dtype=np.int8), [len(kept[part]) for part in PARTS])}
        for name, side in zip(("source", "target"), encoded, strict=True):
            tokens = [[*side[number], END] for number in order]
            arrays[f"{name}_tokens"] = np.array([token for sentence in tokens for token in sentence], np.int32)
            arrays[f"{name}_lengths"] = np.array([len(sentence) for sentence in tokens], np.int64)
        return learnt, kept, arrays

    def check(self, params: Params) -> None:
        """Raise ValueError where `params` cannot be trained."""
        read_hyperparameters(params, whole_sequences=True)

    @staticmethod
    def sizes(dataset: Dataset) -> Sizes:
        """Return what the cost of a trial depends on beside its hyperparameters."""
        of_training = dataset.arrays["parts"] == PARTS.index("train")
        source, target = (int(dataset.arrays[f"{side}_lengths"][of_training].max()) for side in ("source", "target"))
        return Sizes(
            output_size=dataset.facts["vocabulary_sizes"][1],
            vocabulary_size=sum(dataset.facts["vocabulary_sizes"]),
            data_bytes=bytes_of(dataset.arrays),
            longest=(source, target),
        )

    def begin(self, params: Params, dataset: Dataset) -> tuple[Task, Hyperparameters]:
        """Return what training is given; its network's weights come from the seed."""
        # torch takes two seconds to load, and checking a sweep file must not wait for it.
        import torch

        from workloads.tasks.translating import TranslatingTask

        h = read_hyperparameters(params, whole_sequences=True)
        torch.manual_seed(h.seed)
        return TranslatingTask(h, dataset.arrays, dict(dataset.facts)), h

    def train(
        self, params: Params, dataset: Dataset, storage: Storage, resume_from: str | None = None
    ) -> Iterator[Progress]:
        """Train one trial; see `workloads.training.train`."""
        from workloads.training import train

        yield from train(*self.begin(params, dataset), storage, resume_from)

    def predictor(self, checkpoint: bytes) -> Predictor:
        """Return a model that translates sentences."""
        from workloads.tasks.translating import TranslationPredictor

        return TranslationPredictor(checkpoint)


def _copied(sources: Mapping[str, Sequence[str]], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return the scores of the source itself as its translation."""
    found: dict[str, float] = {}
    for part in ("valid", "test"):
        if sources[part]:
            scores = translation_scores(sources[part], references[part])
            found |= {f"copy/{part}_{name}": value for name, value in scores.items()}
    return found


def _unigram_loss(arrays: Mapping[str, Any], size: int) -> float:
    """Return the loss in nats per target token of guessing by frequency alone, counts smoothed by 1."""
    part_of_token = np.repeat(arrays["parts"], arrays["target_lengths"])
    tokens = arrays["target_tokens"]
    counts = np.bincount(tokens[part_of_token == 0], minlength=size) + 1.0
    return float(-np.log(counts / counts.sum())[tokens[part_of_token == 1]].mean())
