"""Sound: files read into samples, and samples turned into log-mel features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from workloads.data.extras import import_extra

ENDLESS = 0x7FFF0000
"""Bytes that a WAV file of unknown length announces, or more."""
LOWEST_RATE, HIGHEST_RATE = 1000, 1_000_000
"""Hz."""
LOUDEST = 2.0**31
"""No sample is beyond it, be they whole numbers."""
SILENCE = 1e-10
"""Power below which there is nothing; its logarithm stays finite."""


class UnusableAudio(ValueError):
    """A recording cannot be used. The message is its reason, the same words for the same fault."""


def read_audio(path: Path, *, max_seconds: float = math.inf) -> tuple[np.ndarray, int]:
    """Return the samples of a WAV or FLAC file as one channel, float32 from -1 to 1, and their rate in Hz.

    UnusableAudio where the file is missing, truncated, empty, no sound, or longer than `max_seconds`, which is seen
    before it is read.
    """
    soundfile = import_extra("soundfile", "speech")
    check_header(path)
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames > max_seconds * file.samplerate:
                raise UnusableAudio(f"longer than {max_seconds:g} seconds")
            announced, rate = file.frames, int(file.samplerate)
            if not LOWEST_RATE <= rate <= HIGHEST_RATE:
                raise UnusableAudio("a sample rate that no sound has")
            samples = file.read(dtype="float32", always_2d=True).mean(axis=1)
    except (soundfile.LibsndfileError, RuntimeError, ValueError, MemoryError) as error:
        if isinstance(error, UnusableAudio):
            raise
        raise UnusableAudio("not a sound file that can be read") from error
    if len(samples) < announced:
        raise UnusableAudio("truncated: fewer samples than the file announces")
    return check_samples(samples), rate


def check_samples(samples: np.ndarray) -> np.ndarray:
    """Return samples (time,) as they are; UnusableAudio where there are none, or some that are not finite."""
    if not len(samples):
        raise UnusableAudio("empty: 0 samples")
    if not np.isfinite(samples).all() or np.abs(samples).max() > LOUDEST:
        raise UnusableAudio("samples that are not finite, or that no sound has")
    return samples


def check_header(path: Path) -> None:
    """Look at what a WAV file announces: libsndfile reads a truncated one without a word."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(4) != b"RIFF":
                return
            file.seek(12)
            while len(chunk := file.read(8)) == 8:
                length = int.from_bytes(chunk[4:], "little")
                if chunk[:4] == b"data":
                    # Programs that write to a pipe leave the length at its greatest.
                    if length < ENDLESS and file.tell() + length > size:
                        raise UnusableAudio("truncated: fewer samples than the file announces")
                    return
                file.seek(length + length % 2, 1)
    except FileNotFoundError as error:
        raise UnusableAudio("no such file") from error
    except OSError as error:
        raise UnusableAudio(f"cannot be read: {error.strerror}") from error


def resample(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Return samples (time,) at another rate in Hz."""
    if rate == wanted:
        return samples
    converted: np.ndarray = import_extra("soxr", "speech").resample(samples, rate, wanted)
    return converted.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Frames:
    """How sound is cut into frames, and which of its frequencies are told apart."""

    rate: int
    """Hz."""
    bands: int
    window: int
    """Samples."""
    hop: int
    precise: bool
    """In double precision, so that a frame has the same features whatever frames it is computed with."""

    @classmethod
    def of(cls, rate: int, *, bands: int, window_ms: float, hop_ms: float, precise: bool = False) -> Frames:
        """Return it for durations in milliseconds."""
        return cls(
            rate, bands, max(round(rate * window_ms / 1000), 2), max(round(rate * hop_ms / 1000), 1), precise=precise
        )

    def emphasise(self, samples: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Return samples (time,) less most of the one before each; `before` are those before the first, if any."""
        previous = np.append(before[-1:] if len(before) else samples[:1] * 0, samples[:-1])
        emphasised: np.ndarray = (samples - 0.97 * previous).astype(np.float64 if self.precise else np.float32)
        return emphasised

    def count(self, samples: int) -> int:
        """Return how many whole frames there are in so many samples."""
        return max((samples - self.window) // self.hop + 1, 0)

    def energies(self, emphasised: np.ndarray) -> np.ndarray:
        """Return the log power of each whole frame by band, (frames, bands); see `log_mel`."""
        kind = emphasised.dtype
        frames = np.lib.stride_tricks.sliding_window_view(emphasised, self.window)[:: self.hop]  # (frames, window)
        size = 2 ** math.ceil(math.log2(self.window))
        spectrum = np.fft.rfft(frames * np.hanning(self.window).astype(kind), size)  # (frames, size / 2 + 1)
        power = np.square(np.abs(spectrum))
        filters = mel_filters(self.rate, size, self.bands).astype(kind, copy=False)
        energies: np.ndarray = np.log(power.astype(kind) @ filters + SILENCE)
        return energies


def log_mel(samples: np.ndarray, how: Frames) -> np.ndarray:
    """Return log-mel features, (frames, bands): log power in bands of equal width on the mel scale.

    A frame sees a window of sound under a Hann window, behind a pre-emphasis of 0.97 (Davis and Mermelstein, 1980).
    Where the sound is shorter than one window, it is filled with silence.
    """
    emphasised = how.emphasise(samples, samples[:0])
    if len(emphasised) < how.window:
        emphasised = np.pad(emphasised, (0, how.window - len(emphasised)))
    return how.energies(emphasised)


def normalize(energies: np.ndarray, over: str) -> np.ndarray:
    """Bring (frames, bands) to mean 0 and standard deviation 1, each `band` by itself or the whole `utterance`.

    By band the microphone is taken out, and with it the spectrum of what stays the same throughout: in an utterance of
    one word that may be its vowel.
    """
    axis = 0 if over == "band" else None
    normal: np.ndarray = (energies - energies.mean(axis=axis)) / np.maximum(energies.std(axis=axis), 1e-3)
    return normal.astype(np.float32)


def normalize_by_past(energies: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring each band to mean 0 and standard deviation 1 by the frames heard so far, a frame's own included.

    Energies are (frames, bands) in double precision; `sums` (3, bands) are count, sum and sum of squares of the frames
    before. Returns the normalised frames and the sums behind the last: what a stream carries along.
    """
    terms = np.stack([np.ones_like(energies), energies, np.square(energies)], axis=1)  # (frames, 3, bands)
    running = np.cumsum(np.concatenate([sums[None], terms]), axis=0)  # one after the other, so cuts change nothing
    count, total, squares = running[1:].transpose(1, 0, 2)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    return ((energies - mean) / np.maximum(std, 1e-3)).astype(np.float32), running[-1]


@cache
def mel_filters(rate: int, size: int, bands: int) -> np.ndarray:
    """Return triangular filters, (size / 2 + 1, bands), at equal distances in mel from 20 Hz to half the rate.

    The scale is O'Shaughnessy's (1987), 2595 log10(1 + f / 700), f in Hz.
    """
    lowest, highest = (2595 * math.log10(1 + hertz / 700) for hertz in (20.0, rate / 2))
    edges = 700 * (10 ** (np.linspace(lowest, highest, bands + 2) / 2595) - 1)  # Hz
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    bins = np.arange(size // 2 + 1)[:, None] * rate / size
    filters = np.minimum((bins - left) / (middle - left), (right - bins) / (right - middle))
    return np.maximum(filters, 0).astype(np.float32)


def stack_frames(features: np.ndarray, stack: int) -> np.ndarray:
    """Put `stack` frames that follow one another into one step: (ceil(frames / stack), stack * bands).

    The last step is filled with the mean, 0. Sak et al. (2015), "Fast and accurate recurrent neural network acoustic
    models for speech recognition".
    """
    missing = -len(features) % stack
    filled = np.pad(features, ((0, missing), (0, 0)))
    return filled.reshape(len(filled) // stack, stack * features.shape[1])


def frames_of(front_end: Mapping[str, Any]) -> Frames:
    """Return how sound is cut, as the facts of a model's data say."""
    window = {name: front_end[name] for name in ("window_ms", "hop_ms")}
    precise = front_end["normalize"] == "running"
    return Frames.of(front_end["sample_rate"], bands=front_end["mel_bands"], precise=precise, **window)


def features_of(samples: np.ndarray, rate: int, front_end: Mapping[str, Any]) -> np.ndarray:
    """Return what a network reads of an utterance, (steps, features), as the facts of its data say."""
    mel = log_mel(resample(samples, rate, front_end["sample_rate"]), frames_of(front_end))
    if front_end["normalize"] == "running":
        normal, _ = normalize_by_past(mel, np.zeros((3, mel.shape[1])))
    else:
        normal = normalize(mel, front_end["normalize"])
    return stack_frames(normal, front_end["stack"])
