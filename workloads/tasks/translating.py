"""Translating sentences: the task in training, and the trained model translating."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workloads.bptt.horizon import Horizon
from workloads.bptt.state import State
from workloads.checkpoint import trained_network
from workloads.data.batches import BucketBatches, by_length, pad
from workloads.data.sentence_pairs import PARTS, clean
from workloads.data.text import unpack_lines
from workloads.data.translation_scores import translation_scores
from workloads.data.vocabulary import BEGIN, END, UNKNOWN, Vocabulary
from workloads.device import to_device
from workloads.hyperparameters import Hyperparameters
from workloads.models.search import Ends, beam_search, greedy_search
from workloads.models.translator import Translator
from workloads.protocol import Stream

EVALUATION_BATCH = 64
DECODED_NUMBERS = 2**22
"""Sentences are decoded fewer at a time where their encoder outputs would have more numbers than this."""
TOKENS_MORE = 20
MOST_TOKENS = 2000
"""A longer source is refused: it is no sentence."""
WIDEST_BEAM = 1000


def make_network(h: Hyperparameters, facts: Mapping[str, Any]) -> Translator:
    """Return the network: source and target tokens in, a score of the latter out."""
    source, target = facts["vocabulary_sizes"]
    return Translator(h, source_vocabulary=source, target_vocabulary=target)


@dataclass(frozen=True, slots=True)
class Batch:
    """Sentence pairs side by side, padded."""

    source: Tensor  # (source time, batch)
    source_lengths: Tensor  # (batch,)
    before: Tensor  # (target time, batch), the token before each
    targets: Tensor  # (target time, batch)
    target_lengths: Tensor  # (batch,)


class TranslatingTask:
    """Translation with teacher forcing; see `workloads.updates.SequenceTask`."""

    def __init__(self, h: Hyperparameters, arrays: Mapping[str, np.ndarray], facts: dict[str, Any]) -> None:
        self.facts, self.arrays, self.h = facts, arrays, h
        self.network = make_network(h, facts)
        self.vocabulary = Vocabulary(facts["vocabularies"][1], facts["unit"])
        self.first = {
            side: np.concatenate([[0], np.cumsum(arrays[f"{side}_lengths"])]) for side in ("source", "target")
        }
        self.members = {part: np.flatnonzero(arrays["parts"] == place) for place, part in enumerate(PARTS)}
        self.references = dict(zip(("valid", "test"), read_texts(arrays), strict=True))
        self.lengths = arrays["source_lengths"] + arrays["target_lengths"]
        self.training = BucketBatches(self.lengths[self.members["train"]], h.batch_size, h.seed)

    def batch(self, indices: np.ndarray, epoch: int, device: torch.device) -> Batch:
        """Return training pairs."""
        return self._collect(self.members["train"][indices], device)

    def _collect(self, pairs: np.ndarray, device: torch.device) -> Batch:
        targets = pad([self._tokens("target", pair) for pair in pairs])
        before = np.concatenate([np.full_like(targets[:1], BEGIN), targets[:-1]])
        source = pad([self._tokens("source", pair) for pair in pairs])
        lengths = (self.arrays[f"{side}_lengths"][pairs] for side in ("source", "target"))
        source_lengths, target_lengths = (to_device(each, device) for each in lengths)
        tokens = (to_device(each.astype(np.int64), device) for each in (source, before, targets))
        padded_source, padded_before, padded_targets = tokens
        return Batch(padded_source, source_lengths, padded_before, padded_targets, target_lengths)

    def _tokens(self, side: str, pair: int) -> np.ndarray:
        first = self.first[side]
        return self.arrays[f"{side}_tokens"][first[pair] : first[pair + 1]]

    def loss(self, batch: Batch) -> tuple[Tensor, int]:
        """Return the summed cross-entropy in nats, smoothed as asked for, and the number of target tokens."""
        return self._loss(batch, self.facts["label_smoothing"])

    def _loss(self, batch: Batch, smoothing: float) -> tuple[Tensor, int]:
        encoded = self.network.encode(batch.source, batch.source_lengths)
        hidden = self.network.decode(batch.before, encoded)
        present = torch.arange(len(hidden), device=hidden.device)[:, None] < batch.target_lengths
        total = self.network.loss(hidden, encoded, batch.targets, present=present, smoothing=smoothing)
        return total, int(batch.target_lengths.sum())

    def chance_loss(self, batch: Batch) -> float:
        """Return the loss of holding all tokens for equally likely."""
        return math.log(self.facts["vocabulary_sizes"][1])

    def horizon(self, batch: Batch, steps: int) -> Horizon | None:
        """Measure how the last output of the encoder's last forward layers depends on their state before."""
        embedded = self.network.embed_source(batch.source)
        return self.network.encoder.horizon(embedded, batch.source_lengths, steps)

    def evaluate(self, device: torch.device) -> dict[str, float]:
        """Return loss (nats per token), perplexity and scores of validation and test, greedily translated."""
        metrics: dict[str, float] = {}
        for part in ("valid", "test"):
            if len(self.members[part]):
                metrics |= {f"{part}_{name}": value for name, value in self._score(part, device).items()}
        return metrics

    @torch.no_grad()
    def _score(self, part: str, device: torch.device) -> dict[str, float]:
        training = self.network.training
        self.network.eval()
        members = self.members[part]
        loss, terms = 0.0, 0
        translations = [""] * len(members)
        beams = list(translations)
        for places in by_length(self.lengths[members], EVALUATION_BATCH):
            batch = self._collect(members[places], device)
            total, tokens = self._loss(batch, 0.0)
            loss, terms = loss + float(total), terms + tokens
            for width, made in ((1, translations), (self.facts["beam_width"], beams)):
                if made is translations or width > 1:
                    found = translate(self.network, batch.source, batch.source_lengths, beam_width=width)
                    for place, sentence in zip(places, found, strict=True):
                        made[place] = self.vocabulary.decode(sentence)
        self.network.train(training)
        scores = {
            "loss": loss / terms,
            "perplexity": math.exp(min(loss / terms, 700.0)),
            **translation_scores(translations, self.references[part]),
        }
        if self.facts["beam_width"] > 1:
            by_beam = translation_scores(beams, self.references[part])
            scores |= {f"beam_{name}": value for name, value in by_beam.items()}
        return scores


def read_texts(arrays: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Return the references of validation and of the test."""
    lines = unpack_lines(arrays["references"])
    counts = [int((arrays["parts"] == PARTS.index(part)).sum()) for part in ("valid", "test")]
    return [lines[: counts[0]], lines[counts[0] : sum(counts)]]


def translate(
    network: Translator,
    source: Tensor,
    lengths: Tensor,
    *,
    beam_width: int,
    length_penalty: float = 1.0,
    max_length: int = 0,
) -> list[list[int]]:
    """Return the target tokens of sources (time, batch), padded; `max_length` 0 goes by the source's length."""
    encoded = network.encode(source, lengths)
    longest = [max_length or 2 * length + TOKENS_MORE for length in lengths.tolist()]
    ends = Ends(BEGIN, END, (UNKNOWN, BEGIN), longest)
    if beam_width > 1:
        encoded = encoded.repeated(beam_width)

    def step(tokens: Tensor, state: State) -> tuple[Tensor, State]:
        return network.step(tokens, state, encoded)

    if beam_width == 1:
        return greedy_search(step, ends, source.device)
    return beam_search(step, ends, source.device, beam_width=beam_width, length_penalty=length_penalty)


class TranslationPredictor:
    """A trained translator: sentences in, their translations out."""

    packages = ("sentencepiece",)

    def __init__(self, checkpoint: bytes) -> None:
        self.network, self.facts = trained_network(checkpoint, make_network)
        self.source, self.target = (Vocabulary(learnt, self.facts["unit"]) for learnt in self.facts["vocabularies"])

    def example(self) -> tuple[dict[str, list[Any]], dict[str, Any]]:
        """Return held-out sentences, and the options."""
        return {"source": list(self.facts["example"])}, {"beam_width": 4, "length_penalty": 1.0, "max_length": 0}

    def predict(self, columns: Mapping[str, list[Any]], options: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Translate each row's `source` (or `text`), by a beam or, of width 1, greedily.

        A text without any word has an empty translation. `max_length` 0 allows twice the source's tokens and some more.
        """
        name = next((name for name in ("source", "text") if name in columns), None)
        if name is None:
            raise ValueError(f"a column `source` of sentences is needed; given: {', '.join(columns) or 'none'}")
        missing = [row for row, text in enumerate(columns[name], start=1) if not isinstance(text, str)]
        if missing:
            raise ValueError(f"{name}: {columns[name][missing[0] - 1]!r} in row {missing[0]} is no text")
        chosen = self._options(options)
        texts = [clean(text) for text in columns[name]]
        if self.facts["lowercase"]:
            texts = [text.lower() for text in texts]
        tokens = [np.array([*numbers, END], np.int64) for numbers in self.source.encode(texts)]
        for row, numbers in enumerate(tokens, start=1):
            if len(numbers) > MOST_TOKENS:
                raise ValueError(
                    f"{name}: row {row} has {len(numbers):,} tokens; at most {MOST_TOKENS:,} are translated"
                )
        translations = [""] * len(texts)
        worded = [row for row, text in enumerate(texts) if text]
        for rows in self._batches(worded, tokens, chosen["beam_width"]):
            for row, translation in zip(rows, self._translate([tokens[row] for row in rows], chosen), strict=True):
                translations[row] = translation
        return {name: list(columns[name]), "translation": translations}

    def stream(self) -> Stream:
        """Raise ValueError: it cannot be."""
        raise ValueError("a translator reads the whole sentence before it writes its first word, so none is streamed")

    def _options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        defaults = self.example()[1]
        chosen = {name: type(default)(options.get(name, default)) for name, default in defaults.items()}
        if not (1 <= chosen["beam_width"] <= WIDEST_BEAM and 0 <= chosen["length_penalty"] <= 10):
            raise ValueError(
                f"beam_width must be from 1 to {WIDEST_BEAM}, length_penalty from 0 to 10; given: {chosen}"
            )
        if not 0 <= chosen["max_length"] <= MOST_TOKENS:
            raise ValueError(f"max_length must be from 0 to {MOST_TOKENS}; given: {chosen['max_length']}")
        return chosen

    def _batches(self, rows: Sequence[int], tokens: Sequence[np.ndarray], beam_width: int) -> list[list[int]]:
        """Put rows of similar length together, as many as there is room for."""
        batches: list[list[int]] = []
        for row in sorted(rows, key=lambda row: -len(tokens[row])):
            longest = len(tokens[batches[-1][0]]) if batches else 0
            room = DECODED_NUMBERS // max(longest * beam_width * self.network.encoder.output_size, 1)
            if not batches or len(batches[-1]) >= min(max(room, 1), EVALUATION_BATCH):
                batches.append([])
            batches[-1].append(row)
        return batches

    @torch.inference_mode()
    def _translate(self, tokens: Sequence[np.ndarray], chosen: Mapping[str, Any]) -> list[str]:
        lengths = torch.tensor([len(numbers) for numbers in tokens])
        found = translate(self.network, torch.from_numpy(pad(tokens)), lengths, **chosen)
        return [self.target.decode(sentence) for sentence in found]
