"""Corpora of speech: which recordings there are, what is said in them, by whom, and which part they belong to."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

FIELD = "workload.corpus"
PARTS = ("train", "valid", "test")
AUDIO_ENDINGS = (".wav", ".flac")
MOST_BYTES = 2**28
"""A manifest larger than this is none."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One utterance in a file."""

    path: Path
    transcript: str
    speaker: str = ""
    part: str = ""
    """train, valid or test where the corpus says so."""


def read_corpus(path: Path) -> list[Recording]:
    """Return the recordings of a manifest, or of a folder laid out as AN4, Free Spoken Digits or LibriSpeech is.

    ValueError, beginning with the field, where it is none of them.
    """
    if path.is_file():
        return read_manifest(path)
    if not path.is_dir():
        raise ValueError(f"{FIELD}: {str(path)!r} is neither a file, a folder nor a name from `bptt data list`")
    for read in LAYOUTS:
        found = list(read(path))
        if found:
            return found
    raise ValueError(
        f"{FIELD}: {path} is laid out as no corpus that is known (AN4, Free Spoken Digits, LibriSpeech); "
        "write a manifest: CSV or JSON lines of path, transcript and speaker"
    )


def read_manifest(path: Path) -> list[Recording]:
    """Read CSV or JSON lines of `path` (seen from the manifest), `transcript`, and perhaps `speaker` and `part`."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{FIELD}: {path} has {path.stat().st_size:,} bytes; no manifest is as large")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{FIELD}: {path} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise ValueError(f"{FIELD}: {path} cannot be read: {error.strerror}") from error
    if "\0" in text:
        raise ValueError(f"{FIELD}: {path} is no text: it holds NUL bytes")
    rows = _json_rows(text, path) if path.suffix.lower() in (".jsonl", ".json") else _csv_rows(text, path)
    recordings = [_recording(row, number, path) for number, row in rows]
    if not recordings:
        raise ValueError(f"{FIELD}: {path} lists no recordings")
    return recordings


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: it cuts inside of texts
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{FIELD}: {path}, line {number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"{FIELD}: {path}, line {number}: a JSON object is needed")
            yield number, row


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        yield from ((reader.line_num, {key: value for key, value in row.items() if key}) for row in reader)
    except csv.Error as error:
        raise ValueError(f"{FIELD}: {path} is no CSV: {error}") from error


def _recording(row: Mapping[str, object], number: int, manifest: Path) -> Recording:
    for name in ("path", "transcript"):
        if not isinstance(row.get(name), str) or not row[name]:
            there = ", ".join(map(str, row)) or "nothing"
            needed = "columns path and transcript are needed"
            raise ValueError(f"{FIELD}: {manifest}, line {number}: no {name}; {needed}, given: {there}")
    part = str(row.get("part") or "")
    if part not in ("", *PARTS):
        raise ValueError(f"{FIELD}: {manifest}, line {number}: part {part!r}; it must be {', '.join(PARTS)} or empty")
    path, transcript, speaker = str(row["path"]), str(row["transcript"]), str(row.get("speaker") or "")
    try:
        f"{path}{transcript}{speaker}".encode()
        where = manifest.parent / Path(path).expanduser()
    except (UnicodeEncodeError, RuntimeError) as error:  # half a character, or no such user's home
        raise ValueError(f"{FIELD}: {manifest}, line {number}: {error}") from error
    if "\0" in path:
        raise ValueError(f"{FIELD}: {manifest}, line {number}: a path with a NUL in it")
    return Recording(where, transcript, speaker, part)


def read_an4(folder: Path) -> Iterator[Recording]:
    """Walk through AN4 as CMU Sphinx has it: etc/an4_{train,test}.{fileids,transcription}, wav/PART/SPEAKER/*.wav."""
    for part in ("train", "test"):
        ids, transcripts = (folder / "etc" / f"an4_{part}.{ending}" for ending in ("fileids", "transcription"))
        if not (ids.is_file() and transcripts.is_file()):
            return
        spoken = {}
        for line in _lines(transcripts):
            text, _, name = line.rpartition("(")
            spoken[name.strip().rstrip(")")] = " ".join(re.sub(r"</?s>", " ", text).split())
        for identifier in _lines(ids):
            path = folder / "wav" / f"{identifier}.wav"
            if path.stem not in spoken:
                raise ValueError(f"{FIELD}: {transcripts} has no transcript of {identifier}")
            yield Recording(path, spoken[path.stem], path.parent.name, part)


def read_spoken_digits(folder: Path) -> Iterator[Recording]:
    """Walk through Free Spoken Digits: recordings/DIGIT_SPEAKER_INDEX.wav; of each, index 0 to 4 are the test.

    That is the official part. Index 5 to 9 are taken to validate on.
    """
    from workloads.data.spoken_digits import DIGITS

    for path in sorted((folder / "recordings").glob("[0-9]_*_*.wav")):
        digit, _, rest = path.stem.partition("_")
        speaker, _, index = rest.rpartition("_")
        if index.isdigit():
            part = "test" if int(index) < 5 else "valid" if int(index) < 10 else "train"
            yield Recording(path, DIGITS[int(digit)], speaker, part)


def read_librispeech(folder: Path) -> Iterator[Recording]:
    """Walk through folders SPEAKER/CHAPTER/*.flac, each with a *.trans.txt of lines `NAME TRANSCRIPT`.

    Below folders called train-..., dev-... and test-... these say the part, as in LibriSpeech (Panayotov et al., 2015).
    """
    known = {"train": "train", "dev": "valid", "test": "test"}
    for transcripts in sorted(folder.rglob("*.trans.txt")):
        above = [name.partition("-")[0] for name in transcripts.relative_to(folder).parts[:-1] if "-" in name]
        part = next((known[name] for name in above if name in known), "")
        for line in _lines(transcripts):
            name, _, spoken = line.partition(" ")
            files = [transcripts.parent / f"{name}{ending}" for ending in AUDIO_ENDINGS]
            path = next((file for file in files if file.is_file()), files[-1])
            yield Recording(path, spoken.strip(), name.partition("-")[0], part)


LAYOUTS: Sequence[Callable[[Path], Iterable[Recording]]] = (read_an4, read_spoken_digits, read_librispeech)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{FIELD}: {path} cannot be read: {error}") from error


def split(
    recordings: Sequence[Recording], *, hold_out: Sequence[str], valid_part: float, test_part: float
) -> list[Recording]:
    """Give every recording its part; no speaker is in two of them, unless the corpus itself says so.

    A corpus's own parts stand, and what it lacks is taken from its training part: whole speakers, ordered by a hash of
    their names, so that a new speaker moves few of the others. Of nameless speakers each recording is its own. With
    `hold_out`, these speakers are the test, and what would have been it is for validation, or for training where
    there is another. ValueError where there is no such speaker.
    """
    if hold_out:
        recordings = _without(recordings, hold_out)
    given = [recording if recording.part else replace(recording, part="train") for recording in recordings]
    for part, share in (("valid", valid_part), ("test", test_part)):
        if share and all(recording.part != part for recording in given):
            given = _take_speakers(given, part, share * len(given))
    return given


def _without(recordings: Sequence[Recording], hold_out: Sequence[str]) -> list[Recording]:
    speakers = {recording.speaker for recording in recordings}
    for name in hold_out:
        if name not in speakers:
            raise ValueError(f"workload.hold_out: no speaker {name!r}; there are {', '.join(sorted(speakers)[:20])}")
    has_valid = any(recording.part == "valid" for recording in recordings)
    former_test = "train" if has_valid else "valid"
    parts = {"": "train", "train": "train", "valid": "valid", "test": former_test}
    return [
        replace(recording, part="test" if recording.speaker in hold_out else parts[recording.part])
        for recording in recordings
    ]


def _take_speakers(recordings: list[Recording], part: str, count: float) -> list[Recording]:
    def voice(recording: Recording) -> str:
        return recording.speaker or str(recording.path)

    counts = Counter(voice(recording) for recording in recordings if recording.part == "train")
    ranked = sorted(counts, key=_hash)
    taken: set[str] = set()
    missing = count
    for name in ranked[:-1]:  # one is left to train on
        if missing <= 0:
            break
        taken.add(name)
        missing -= counts[name]
    return [
        replace(recording, part=part) if recording.part == "train" and voice(recording) in taken else recording
        for recording in recordings
    ]


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
