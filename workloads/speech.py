"""Speech recognition: from sound to text, without an alignment of the two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.cost.sizes import Sizes, bytes_of
from workloads.data.audio import UnusableAudio, read_audio
from workloads.data.catalogue import locate
from workloads.data.corpora import PARTS, Recording, read_corpus, split
from workloads.data.error_rates import error_rates
from workloads.data.fingerprint import make_dataset
from workloads.data.spoken_digits import SpokenDigits, speak_digits
from workloads.data.utterances import (
    Utterances,
    extract,
    normal_text,
    recorded,
    symbols_of,
    synthesised,
)
from workloads.hyperparameters import read_hyperparameters
from workloads.options import option

if TYPE_CHECKING:
    from workloads.hyperparameters import Hyperparameters
    from workloads.protocol import Dataset, Params, Predictor, Progress, Storage
    from workloads.updates import Task

SYNTHESISED = "spoken-digits"
SYNTHESISED_RATE = 16_000
HINT = "add speakers, leave the column speaker out, or give each recording its part"


@dataclass(frozen=True, slots=True)
class Speech:
    """Recordings and what is said in them; the network learns to spell it. A step is `stack` frames of `hop_ms`."""

    corpus: str = option(
        SYNTHESISED,
        "a name from `bptt data list`, a manifest (CSV or JSON lines: path, transcript, speaker), or a folder laid out "
        "as AN4, Free Spoken Digits or LibriSpeech",
    )
    unit: str = option("character", "what the network spells in", choices=("character", "word"))
    lowercase: bool = option(True, "take transcripts in small letters")
    alphabet: str | None = option(None, "characters there are; null: those of the training transcripts")
    hold_out: tuple[str, ...] = option((), "speakers for the test alone")
    valid_part: float = option(0.1, "part to validate on, by speakers, where the corpus has none", above=0, below=1)
    test_part: float = option(0.1, "part for the test, by speakers, where the corpus has none", at_least=0, below=1)
    sample_rate: int | None = option(
        None, "Hz that all is converted to; null: that of the first recording", at_least=1000, at_most=192_000
    )
    mel_bands: int = option(40, "bands of the log-mel features", at_least=4, at_most=256)
    window_ms: float = option(25.0, "milliseconds that a frame sees", at_least=5, at_most=200)
    hop_ms: float = option(10.0, "milliseconds between frames", at_least=2, at_most=100)
    normalize: str = option(
        "band",
        "what is brought to mean 0 and deviation 1 in an utterance: each band, or all of it; running: each band by "
        "what was heard so far, so that the model can hear as one speaks",
        choices=("band", "utterance", "running"),
    )
    stack: int = option(3, "frames in a step", at_least=1, at_most=20)
    speeds: tuple[float, ...] = option((1.0,), "speeds at which each training recording is heard")
    time_mask: int = option(0, "steps in the widest mask over time in training; 0: none", at_least=0, at_most=1000)
    frequency_mask: int = option(0, "bands in the widest mask over frequency in training", at_least=0, at_most=256)
    beam_width: int = option(
        1, "above 1, evaluations search with a beam too (valid_beam_word_error_rate)", at_least=1, at_most=1000
    )
    max_seconds: float = option(30.0, "longer recordings are left out", above=0, at_most=3600)

    def __post_init__(self) -> None:
        """Raise ValueError, naming the field, where options do not go together."""
        if self.alphabet is not None and (self.unit == "word" or not self.alphabet):
            raise ValueError("workload.alphabet: characters for unit: character; leave it out otherwise")
        if self.frequency_mask > self.mel_bands:
            raise ValueError(f"workload.frequency_mask: {self.frequency_mask}; there are {self.mel_bands} mel_bands")
        if self.valid_part + self.test_part >= 1:
            raise ValueError("workload.valid_part: with test_part it leaves nothing to train on")
        if not self.speeds or not all(0.5 <= speed <= 2 for speed in self.speeds):
            raise ValueError(f"workload.speeds: {list(self.speeds)}; from 0.5 to 2, at least one")

    @property
    def objectives(self) -> Mapping[str, str]:
        """Return the metrics that a sweep can aim at: all fall as the model learns."""
        rates = ("character_error_rate", "word_error_rate")
        beam = [f"valid_beam_{rate}" for rate in rates] if self.beam_width > 1 else []
        return dict.fromkeys([*(f"valid_{rate}" for rate in rates), "valid_loss", *beam], "minimize")

    def prepare(self) -> Dataset:
        """Read all recordings into features, spell their transcripts, and count what cannot be used."""
        digits = speak_digits() if self.corpus == SYNTHESISED else None
        recordings, source = self._recordings(digits)
        normal = [
            replace(each, transcript=normal_text(each.transcript, lowercase=self.lowercase)) for each in recordings
        ]
        given = split(normal, hold_out=self.hold_out, valid_part=self.valid_part, test_part=self.test_part)
        spelled = [recording.transcript for recording in given if recording.part == "train"]
        symbols = symbols_of(spelled, self.unit, self.alphabet)
        front_end = self._front_end(given, digits)
        found = extract(
            synthesised(digits, given) if digits else recorded(given),
            symbols,
            front_end,
            unit=self.unit,
            speeds=self.speeds,
            max_seconds=self.max_seconds,
        )
        self._check_parts(found, len(given))
        skipped = found.describe_skipped()
        return make_dataset(
            name=f"{self.corpus} by {self.unit}",
            arrays=found.arrays(),
            facts={
                "symbols": symbols,
                "unit": self.unit,
                "front_end": front_end,
                "beam_width": self.beam_width,
                "masking": {"time": self.time_mask, "frequency": self.frequency_mask},
                "speakers": sorted(set(found.speakers)),
                "skipped": dict(found.skipped),
            },
            source=f"{source}; {skipped}" if skipped else source,
            baselines=_commonest(found),
        )

    def _recordings(self, digits: SpokenDigits | None) -> tuple[list[Recording], str]:
        if digits is None:
            folder, source = locate(self.corpus, "workload.corpus", folders=True)
            return read_corpus(folder), source
        made = [
            Recording(Path(f"{speaker}-{number}"), transcript, speaker)
            for number, (transcript, speaker) in enumerate(zip(digits.transcripts, digits.speakers, strict=True))
        ]
        return made, "digits spoken by espeak-ng (package espeakng_loader)"

    def _front_end(self, recordings: Sequence[Recording], digits: SpokenDigits | None) -> dict[str, Any]:
        rate = self.sample_rate or (SYNTHESISED_RATE if digits else _first_rate(recordings, self.max_seconds))
        window = {"mel_bands": self.mel_bands, "window_ms": self.window_ms, "hop_ms": self.hop_ms}
        return {"sample_rate": rate, "stack": self.stack, "normalize": self.normalize, **window}

    def _check_parts(self, found: Utterances, recordings: int) -> None:
        counts = Counter(PARTS[part] for part in found.parts)
        skipped = found.describe_skipped()
        for part in ("train", "valid"):
            if not counts[part]:
                raise ValueError(f"workload.corpus: {self.corpus} has nothing in the {part} part; {skipped or HINT}")
        if 2 * sum(found.skipped.values()) > recordings:
            raise ValueError(f"workload.corpus: more of {self.corpus} is unusable than usable: {skipped}")

    def check(self, params: Params) -> None:
        """Raise ValueError where `params` cannot be trained."""
        read_hyperparameters(params, whole_sequences=True)

    @staticmethod
    def sizes(dataset: Dataset) -> Sizes:
        """Return what the cost of a trial depends on beside its hyperparameters."""
        front_end, of_training = dataset.facts["front_end"], dataset.arrays["parts"] == PARTS.index("train")
        return Sizes(
            output_size=len(dataset.facts["symbols"]),
            input_size=front_end["mel_bands"] * front_end["stack"],
            data_bytes=bytes_of(dataset.arrays),
            longest=(int(dataset.arrays["steps"][of_training].max()),),
        )

    def begin(self, params: Params, dataset: Dataset) -> tuple[Task, Hyperparameters]:
        """Return what training is given; its network's weights come from the seed."""
        # torch takes two seconds to load, and checking a sweep file must not wait for it.
        import torch

        from workloads.tasks.transcribing import TranscribingTask

        h = read_hyperparameters(params, whole_sequences=True)
        torch.manual_seed(h.seed)
        return TranscribingTask(h, dataset.arrays, dict(dataset.facts)), h

    def train(
        self, params: Params, dataset: Dataset, storage: Storage, resume_from: str | None = None
    ) -> Iterator[Progress]:
        """Train one trial; see `workloads.training.train`."""
        from workloads.training import train

        yield from train(*self.begin(params, dataset), storage, resume_from)

    def predictor(self, checkpoint: bytes) -> Predictor:
        """Return a model that transcribes recordings."""
        from workloads.tasks.transcribing import SpeechPredictor

        return SpeechPredictor(checkpoint)


def _first_rate(recordings: Sequence[Recording], max_seconds: float) -> int:
    for recording in recordings:
        try:
            return read_audio(recording.path, max_seconds=max_seconds)[1]
        except UnusableAudio:
            continue
    raise ValueError(
        f"workload.corpus: none of {len(recordings)} recordings can be read, the first {recordings[0].path}"
    )


def _commonest(found: Utterances) -> dict[str, float]:
    """Return the error rates of always answering the commonest training transcript."""
    by_part = {
        part: [text for text, own in zip(found.transcripts, found.parts, strict=True) if own == place]
        for place, part in enumerate(PARTS)
    }
    ((answer, _),) = Counter(by_part["train"]).most_common(1)
    return {
        f"commonest/{part}_{name}": value
        for part in ("valid", "test")
        if by_part[part]
        for name, value in error_rates(by_part[part], [answer] * len(by_part[part])).items()
    }
