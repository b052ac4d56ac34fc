"""Utterances ready to train on: features beside the symbols of their transcripts, and a count of those left out."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workloads.data.audio import UnusableAudio, check_samples, features_of, read_audio
from workloads.data.corpora import PARTS, Recording
from workloads.data.spoken_digits import SpokenDigits
from workloads.data.text import pack_lines

BLANK = ""
"""Symbol 0 of connectionist temporal classification: nothing is said."""
Sound = tuple[Recording, np.ndarray | None, int]
"""A recording, and its samples and their rate in Hz where they are in memory already."""


@dataclass(slots=True)
class Utterances:
    """Utterances of all parts in one order, and why others are not among them."""

    symbols: list[str]
    """Characters or words; the first is the blank."""
    features: list[np.ndarray] = field(default_factory=list)
    """(steps, features) float32 each."""
    transcripts: list[str] = field(default_factory=list)
    """As they are spelled, with characters too that the symbols lack."""
    tokens: list[np.ndarray] = field(default_factory=list)
    """Numbers of symbols, (tokens,) int32 each."""
    speakers: list[str] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    """Places in PARTS."""
    skipped: Counter[str] = field(default_factory=Counter)
    """How many recordings were left out, by reason."""
    first_skipped: dict[str, str] = field(default_factory=dict)
    unspellable: int = 0
    """Held-out transcripts with symbols that training lacks; what cannot be answered counts as an error."""

    def skip(self, recording: Recording, reason: str) -> None:
        """Leave a recording out."""
        self.skipped[reason] += 1
        self.first_skipped.setdefault(reason, str(recording.path))

    def describe_skipped(self) -> str:
        """Return in one line what was left out and why; empty where nothing was."""
        total = sum(self.skipped.values())
        reasons = [f"{reason} ({count}, first {self.first_skipped[reason]})" for reason, count in self.skipped.items()]
        said = [f"{total} recording{'s' * (total > 1)} skipped: {'; '.join(reasons)}"] if total else []
        if self.unspellable:
            said.append(f"{self.unspellable} held-out transcripts have symbols that training lacks")
        return "; ".join(said)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return plain arrays: all steps and all tokens behind one another, and how many each utterance has."""
        names = sorted(set(self.speakers))
        return {
            "features": np.concatenate(self.features),
            "steps": np.array([len(features) for features in self.features], np.int64),
            "references": pack_lines(self.transcripts),
            "tokens": np.concatenate(self.tokens),
            "token_counts": np.array([len(tokens) for tokens in self.tokens], np.int64),
            "parts": np.array(self.parts, np.int8),
            "speakers": np.array([names.index(speaker) for speaker in self.speakers], np.int64),
        }


def normal_text(text: str, *, lowercase: bool) -> str:
    """Return a transcript in composed Unicode, with single spaces, in small letters if asked for."""
    text = " ".join(unicodedata.normalize("NFC", text).split())
    return text.lower() if lowercase else text


def cut(text: str, unit: str) -> list[str]:
    """Cut a transcript into characters or words."""
    return list(text) if unit == "character" else text.split()


def recorded(recordings: Iterable[Recording]) -> Iterator[Sound]:
    """Return recordings whose samples are in their files."""
    for recording in recordings:
        yield recording, None, 0


def synthesised(digits: SpokenDigits, recordings: Sequence[Recording]) -> Iterator[Sound]:
    """Return recordings whose samples are in memory."""
    for recording, sound in zip(recordings, digits.sounds, strict=True):
        yield recording, sound, digits.sample_rate


def symbols_of(transcripts: Iterable[str], unit: str, allowed: str | None) -> list[str]:
    """Return the blank and the symbols of training transcripts in their order, or the characters `allowed`."""
    if allowed is not None:
        return [BLANK, *sorted(set(allowed))]
    return [BLANK, *sorted({symbol for text in transcripts for symbol in cut(text, unit)})]


def extract(
    sounds: Iterable[Sound],
    symbols: list[str],
    front_end: dict[str, Any],
    *,
    unit: str,
    speeds: Sequence[float] = (1.0,),
    max_seconds: float,
) -> Utterances:
    """Read every sound into features; what cannot be used is left out and counted.

    Of the training part each recording comes once at each of `speeds` (Ko et al., 2015, "Audio augmentation for speech
    recognition"). `front_end` holds what `workloads.data.audio.features_of` asks for; transcripts are normal texts.
    """
    found = Utterances(symbols)
    number = {symbol: place for place, symbol in enumerate(symbols)}
    for recording, samples, rate in sounds:
        try:
            tokens = _tokens(recording, unit, number)
            if samples is None:
                samples, rate = read_audio(recording.path, max_seconds=max_seconds)
            check_samples(samples)
            heard = [
                features_of(samples, round(rate * speed), front_end)
                for speed in (speeds if recording.part == "train" else (1.0,))
            ]
            usable = [features for features in heard if _has_alignment(len(features), tokens)]
            if not usable:
                raise UnusableAudio("fewer steps than its transcript needs")
            found.unspellable += len(tokens) < len(cut(recording.transcript, unit))
            for features in usable:
                found.features.append(features)
                found.tokens.append(tokens)
                found.transcripts.append(recording.transcript)
                found.speakers.append(recording.speaker)
                found.parts.append(PARTS.index(recording.part))
        except UnusableAudio as error:
            found.skip(recording, str(error))
    return found


def _tokens(recording: Recording, unit: str, number: Mapping[str, int]) -> np.ndarray:
    symbols = cut(recording.transcript, unit)
    if not symbols:
        raise UnusableAudio("no transcript")
    known = [number[symbol] for symbol in symbols if symbol in number]
    if recording.part == "train" and len(known) < len(symbols):
        raise UnusableAudio(f"a transcript with {unit}s that are not in the alphabet")
    return np.array(known, np.int32)


def _has_alignment(steps: int, tokens: np.ndarray) -> bool:
    """Tell whether there is a step for each token, and one for a blank between equal ones."""
    return bool(steps >= len(tokens) + np.count_nonzero(tokens[1:] == tokens[:-1]))
