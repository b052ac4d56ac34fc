"""Sound read piece by piece, from a file or a pipe, at the rate that a model hears."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from workloads.data.audio import HIGHEST_RATE, LOWEST_RATE, UnusableAudio, check_header
from workloads.data.extras import import_extra


def read_pieces(source: Path | int, wanted: int, *, seconds: float, lasting: bool = False) -> Iterator[np.ndarray]:
    """Return a recording as one channel, float32 from -1 to 1, at `wanted` Hz, each piece once it is there.

    `source` is a file or the number of an open one, which may be a pipe; pieces are `seconds` long, the last is
    shorter. UnusableAudio where it is no sound; also, where the stream is `lasting`, if its rate is another: what a
    conversion of rates carries along cannot be put away.
    """
    soundfile = import_extra("soundfile", "speech")
    if isinstance(source, Path):
        check_header(source)
    try:
        with soundfile.SoundFile(source, closefd=False) as file:
            rate = int(file.samplerate)
            if not LOWEST_RATE <= rate <= HIGHEST_RATE:
                raise UnusableAudio("a sample rate that no sound has")
            if lasting and rate != wanted:
                raise UnusableAudio(
                    f"it has {rate} Hz, and the model hears {wanted}; a state is kept at the model's own rate alone: "
                    "convert the recording first"
                )
            yield from _converted(_blocks(file, round(rate * seconds)), rate, wanted)
    except (soundfile.LibsndfileError, RuntimeError, MemoryError) as error:
        raise UnusableAudio("not a sound file that can be read") from error


def _blocks(file: Any, length: int) -> Iterator[np.ndarray]:
    found = False
    while len(block := file.read(length, dtype="float32", always_2d=True)):
        found = True
        yield block.mean(axis=1)
    if not found:
        raise UnusableAudio("empty: 0 samples")


def _converted(pieces: Iterator[np.ndarray], rate: int, wanted: int) -> Iterator[np.ndarray]:
    if rate == wanted:
        yield from pieces
        return
    conversion = import_extra("soxr", "speech").ResampleStream(rate, wanted, 1)
    for piece in pieces:
        yield conversion.resample_chunk(piece)
    yield conversion.resample_chunk(np.empty(0, np.float32), last=True)
