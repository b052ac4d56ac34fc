"""Spoken digits made by espeak-ng, which the package espeakng_loader carries: speech without a download.

The synthesiser's state reaches from one word into the next, so that a word depends on those spoken before. All are
therefore spoken by a process of their own, from its first to its last in one order: the same sounds every time.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOICES = (
    "en-us",
    "en-gb-scotland",
    "en-029",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-us+Annie",
    "en-us+f4",
    "en-us+m3",
    "en-us+m7",
    "en-gb-scotland+f1",
    "en-029+m5",
    "en-gb-x-rp+belinda",
    "en-gb-x-rp+m1",
)
"""The speakers: an accent, and a variant of the voice. Variants with breath in them, as f2, are random."""
WORDS_PER_MINUTE = (110, 135, 160, 190, 220, 260)
PITCHES = (35, 50, 65)
LENGTHS = (1, 3)
"""Digits in an utterance; the longer ones make the order matter."""
SYNCHRONOUS, RATE, PITCH, UTF8 = 2, 1, 3, 1
"""Numbers of espeak-ng's speak_lib.h: an output mode, two parameters and a flag."""
BITS = 16


@dataclass(frozen=True, slots=True)
class SpokenDigits:
    """Utterances as samples."""

    sounds: list[np.ndarray]
    """Samples from -1 to 1, float32."""
    transcripts: list[str]
    speakers: list[str]
    sample_rate: int
    """Hz."""


def speak_digits(seed: int = 0) -> SpokenDigits:
    """Return digits alone and in threes, by every voice at several speeds and pitches.

    Raises ValueError where the package is missing or the synthesiser fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "digits.npz"
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-m", "workloads.data.spoken_digits", str(made), str(seed)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise ValueError(
                f"workload.corpus: spoken-digits cannot be synthesised: {reason.removeprefix('ValueError: ')}"
            )
        with np.load(made) as read:
            ends = np.cumsum(read["lengths"])
            sounds = [part.astype(np.float32) / 2 ** (BITS - 1) for part in np.split(read["samples"], ends[:-1])]
            return SpokenDigits(sounds, read["transcripts"].tolist(), read["speakers"].tolist(), int(read["rate"]))


def _synthesise(seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    speak, rate = _open_synthesiser()
    sounds, transcripts, speakers = [], [], []
    for voice in VOICES:
        for words_per_minute in WORDS_PER_MINUTE:
            for pitch in PITCHES:
                digits = [DIGITS[number] for number in random.permutation(10)]
                alone = digits[: len(digits) // 2]
                for text in [*alone, " ".join(digits[:3]), " ".join(digits[3:6])]:
                    sounds.append(speak(text, voice, words_per_minute, pitch))
                    transcripts.append(text)
                    speakers.append(voice)
    return {
        "samples": np.concatenate(sounds),
        "lengths": [len(sound) for sound in sounds],
        "transcripts": transcripts,
        "speakers": speakers,
        "rate": rate,
    }


Speak = Callable[[str, str, int, int], np.ndarray]
"""(text, voice, words per minute, pitch from 0 to 100) to samples, int16."""


def _open_synthesiser() -> tuple[Speak, int]:
    """Return a function that speaks, and its sample rate in Hz. ValueError where there is none."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise ValueError("it needs espeakng_loader; pip install 'bptt[speech]'") from error
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = Path(espeakng_loader.get_data_path())
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, str(data).encode(), 0)
    if rate <= 0:
        raise ValueError(f"espeak_Initialize returned {rate}")
    pieces: list[bytes] = []

    def take(samples: int | None, count: int, _events: int | None) -> int:
        if samples and count:
            pieces.append(ctypes.string_at(samples, count * BITS // 8))
        return 0

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(take)
    library.espeak_SetSynthCallback(callback)

    def speak(text: str, voice: str, words_per_minute: int, pitch: int) -> np.ndarray:
        pieces.clear()
        variant = voice.partition("+")[2]
        # An unknown voice silently keeps the last one, but for the return code; an unknown variant even with it.
        if library.espeak_SetVoiceByName(voice.encode()) or (
            variant and not (data / "voices" / "!v" / variant).is_file()
        ):
            raise ValueError(f"espeak-ng has no voice {voice}")
        library.espeak_SetParameter(RATE, words_per_minute, 0)
        library.espeak_SetParameter(PITCH, pitch, 0)
        content = text.encode()
        if library.espeak_Synth(content, len(content) + 1, 0, 0, 0, UTF8, None, None) or library.espeak_Synchronize():
            raise ValueError(f"espeak-ng could not speak {text!r}")
        _ = callback  # C holds it, and Python must not let go of it
        return np.frombuffer(b"".join(pieces), np.int16)

    return speak, rate


if __name__ == "__main__":
    np.savez(sys.argv[1], **_synthesise(int(sys.argv[2])))
