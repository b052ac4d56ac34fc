"""Transcribing speech: the task in training, and the trained model hearing recordings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workloads.bptt.horizon import Horizon
from workloads.checkpoint import trained_network
from workloads.data.audio import HIGHEST_RATE, LOWEST_RATE, UnusableAudio, check_samples, features_of
from workloads.data.batches import BucketBatches, by_length, pad
from workloads.data.corpora import PARTS
from workloads.data.error_rates import by_speaker, error_rates
from workloads.data.text import unpack_lines
from workloads.device import to_device
from workloads.hyperparameters import Hyperparameters
from workloads.models.ctc import best_texts, ctc_loss
from workloads.models.transcriber import Transcriber
from workloads.tasks.speech_stream import SpeechStream

EVALUATION_BATCH = 16
MASKS = 2
"""Masks over time and over frequency, of each."""
MOST_SPEAKERS = 60
"""Beyond so many, the error of each alone is no longer told."""


def make_network(h: Hyperparameters, facts: Mapping[str, Any]) -> Transcriber:
    """Return the network: features in, a logit for each symbol out."""
    front_end = facts["front_end"]
    return Transcriber(h, input_size=front_end["mel_bands"] * front_end["stack"], symbols=len(facts["symbols"]))


@dataclass(frozen=True, slots=True)
class Batch:
    """Utterances side by side, padded."""

    features: Tensor  # (time, batch, features)
    steps: Tensor  # (batch,)
    tokens: Tensor  # (all tokens,)
    token_counts: Tensor  # (batch,)


class TranscribingTask:
    """Speech recognition by connectionist temporal classification; see `workloads.updates.SequenceTask`."""

    def __init__(self, h: Hyperparameters, arrays: Mapping[str, np.ndarray], facts: dict[str, Any]) -> None:
        self.facts, self.arrays, self.h = facts, arrays, h
        self.network = make_network(h, facts)
        self.first_step = np.concatenate([[0], np.cumsum(arrays["steps"])])
        self.first_token = np.concatenate([[0], np.cumsum(arrays["token_counts"])])
        self.members = {part: np.flatnonzero(arrays["parts"] == place) for place, part in enumerate(PARTS)}
        self.references = unpack_lines(arrays["references"])
        self.training = BucketBatches(arrays["steps"][self.members["train"]], h.batch_size, h.seed)

    def batch(self, indices: np.ndarray, epoch: int, device: torch.device) -> Batch:
        """Return training utterances, parts of them masked."""
        utterances = self.members["train"][indices]
        return self._collect(utterances, [self._masked(utterance, epoch) for utterance in utterances], device)

    def _collect(self, utterances: np.ndarray, features: Sequence[np.ndarray], device: torch.device) -> Batch:
        tokens = np.concatenate([self._tokens(utterance) for utterance in utterances])
        return Batch(
            to_device(pad(features), device),
            to_device(self.arrays["steps"][utterances], device),
            to_device(tokens, device),
            to_device(self.arrays["token_counts"][utterances], device),
        )

    def _features(self, utterance: int) -> np.ndarray:
        return self.arrays["features"][self.first_step[utterance] : self.first_step[utterance + 1]]

    def _tokens(self, utterance: int) -> np.ndarray:
        return self.arrays["tokens"][self.first_token[utterance] : self.first_token[utterance + 1]]

    def _masked(self, utterance: int, epoch: int) -> np.ndarray:
        """Return features with bands of time and frequency at their mean, 0; Park et al. (2019), "SpecAugment"."""
        front_end, masking = self.facts["front_end"], self.facts["masking"]
        random = np.random.default_rng([self.h.seed, epoch, int(utterance)])
        features = self._features(utterance).copy()
        by_frame = features.reshape(len(features), front_end["stack"], front_end["mel_bands"])
        for _ in range(MASKS):
            # No more than a fifth of an utterance in one mask: a digit is short.
            width = int(random.integers(0, min(masking["time"], len(features) // 5) + 1))
            start = int(random.integers(0, len(features) - width + 1))
            features[start : start + width] = 0
            width = int(random.integers(0, masking["frequency"] + 1))
            start = int(random.integers(0, front_end["mel_bands"] - width + 1))
            by_frame[:, :, start : start + width] = 0
        return features

    def loss(self, batch: Batch) -> tuple[Tensor, int]:
        """Return the summed loss in nats, and the number of tokens."""
        logits = self.network(batch.features, batch.steps)
        loss = ctc_loss(logits, batch.tokens, steps=batch.steps, token_counts=batch.token_counts)
        return loss, len(batch.tokens)

    def chance_loss(self, batch: Batch) -> float:
        """Return the loss of holding all symbols for equally likely at every step: of one alignment, that is."""
        return int(batch.steps.sum()) * math.log(len(self.facts["symbols"])) / len(batch.tokens)

    def horizon(self, batch: Batch, steps: int) -> Horizon | None:
        """Measure how the last output of the last forward layers depends on their state before."""
        return self.network.encoder.horizon(batch.features, batch.steps, steps)

    def evaluate(self, device: torch.device) -> dict[str, float]:
        """Return loss (nats per token) and error rates of validation and test, read greedily, and by beam if asked."""
        metrics: dict[str, float] = {}
        for part in ("valid", "test"):
            if len(self.members[part]):
                metrics |= {f"{part}_{name}": value for name, value in self._score(self.members[part], device).items()}
        return metrics

    @torch.no_grad()
    def _score(self, members: np.ndarray, device: torch.device) -> dict[str, float]:
        training = self.network.training
        self.network.eval()
        loss, terms = 0.0, 0
        spoken, heard, by_beam, speakers = [], [], [], []
        for places in by_length(self.arrays["steps"][members], EVALUATION_BATCH):
            utterances = members[places]
            batch = self._collect(utterances, [self._features(utterance) for utterance in utterances], device)
            logits = self.network(batch.features, batch.steps)
            loss += float(ctc_loss(logits, batch.tokens, steps=batch.steps, token_counts=batch.token_counts))
            terms += len(batch.tokens)
            heard += [text_of(tokens, self.facts) for tokens in best_texts(logits, batch.steps.tolist(), 1)]
            if self.facts["beam_width"] > 1:
                texts = best_texts(logits, batch.steps.tolist(), self.facts["beam_width"])
                by_beam += [text_of(tokens, self.facts) for tokens in texts]
            spoken += [self.references[utterance] for utterance in utterances]
            speakers += [self.facts["speakers"][self.arrays["speakers"][utterance]] for utterance in utterances]
        self.network.train(training)
        found = {"loss": loss / max(terms, 1), **error_rates(spoken, heard)}
        if by_beam:
            found |= {f"beam_{name}": value for name, value in error_rates(spoken, by_beam).items()}
        if 1 < len(set(speakers)) <= MOST_SPEAKERS:
            found |= by_speaker(spoken, heard, speakers)
        return found


def text_of(tokens: Sequence[int] | np.ndarray, facts: Mapping[str, Any]) -> str:
    """Return tokens as a text, with single spaces."""
    between = "" if facts["unit"] == "character" else " "
    return " ".join(between.join(facts["symbols"][token] for token in tokens).split())


class SpeechPredictor:
    """A trained recogniser: recordings in, transcripts out."""

    optional_columns = ("sample_rate",)
    packages = ("soxr",)

    def __init__(self, checkpoint: bytes) -> None:
        self.network, self.facts = trained_network(checkpoint, make_network)

    def example(self) -> tuple[dict[str, list[Any]], dict[str, Any]]:
        """Return a tenth of a second of a tone, which shows the form alone, and the options."""
        rate = self.facts["front_end"]["sample_rate"]
        tone = [round(0.1 * math.sin(2 * math.pi * 440 * step / rate), 4) for step in range(rate // 10)]
        return {"audio": [tone], "sample_rate": [rate]}, {"beam_width": 1}

    def predict(self, columns: Mapping[str, list[Any]], options: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Transcribe each row: `audio`, samples from -1 to 1, at `sample_rate` in Hz (by default the model's own)."""
        if "audio" not in columns:
            raise ValueError(f"a column `audio` of samples is needed; given: {', '.join(columns) or 'none'}")
        rates = columns.get("sample_rate", [None] * len(columns["audio"]))
        beam_width = int(options.get("beam_width", 1))
        if beam_width < 1:
            raise ValueError(f"beam_width: {beam_width}; it must be at least 1")
        rows = enumerate(zip(columns["audio"], rates, strict=True), start=1)
        return {"transcript": [self._transcribe(audio, rate, beam_width, row) for row, (audio, rate) in rows]}

    def stream(self) -> SpeechStream:
        """Return the model to be fed as one speaks; ValueError where it needs to hear what comes later, too."""
        return SpeechStream(self.network, self.facts)

    @torch.inference_mode()
    def _transcribe(self, audio: Any, rate: Any, beam_width: int, row: int) -> str:
        own_rate = self.facts["front_end"]["sample_rate"]
        try:
            samples = np.asarray(audio, np.float32)
            rate = own_rate if rate is None or rate != rate else int(rate)  # NaN: the table's other rows have one
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"audio: row {row} holds no samples and rate: {error}") from error
        if samples.ndim != 1 or not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise ValueError(
                f"audio: row {row}: one channel at 1,000 Hz or more is needed; given: {samples.shape}, {rate} Hz"
            )
        try:
            features = features_of(check_samples(samples), rate, self.facts["front_end"])
        except UnusableAudio as error:
            raise ValueError(f"audio: row {row}: {error}") from error
        logits = self.network(torch.from_numpy(features)[:, None], torch.tensor([len(features)]))
        return text_of(best_texts(logits, [len(features)], beam_width)[0], self.facts)
