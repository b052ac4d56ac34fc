"""Sentences beside their translations: read from files, cleaned, counted where unusable, and parted by their source."""

from __future__ import annotations

import hashlib
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

FIELD = "workload.corpus"
MOST_BYTES = 2**31
"""A larger file is refused: it would not fit in memory as sentences."""
LOOK = 2**16
"""Bytes at the beginning of a file that are looked at before the rest is read."""
PARTS = ("train", "valid", "test")
SPACE_MARK = "\N{LOWER ONE EIGHTH BLOCK}"
"""Subword vocabularies write a space so; in a text it would come back as one."""


@dataclass(slots=True)
class Pairs:
    """Sources and targets in the order they were read, and why other lines are not among them."""

    sources: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    """How many pairs were left out, by reason."""

    def add(self, source: str, target: str) -> None:
        """Add a pair, cleaned; one with an empty side is counted and left out."""
        source, target = clean(source), clean(target)
        if source and target:
            self.sources.append(source)
            self.targets.append(target)
        else:
            self.skipped["an empty side"] += 1

    def describe_skipped(self) -> str:
        """Return in one line what was left out and why; empty where nothing was."""
        reasons = [f"{reason} ({count:,})" for reason, count in self.skipped.items() if count]
        return f"{sum(self.skipped.values()):,} pairs skipped: {', '.join(reasons)}" if reasons else ""


def clean(text: str) -> str:
    """Return a text in composed Unicode, with single spaces and without any at its ends."""
    return " ".join(unicodedata.normalize("NFC", text.replace(SPACE_MARK, " ")).split())


def read_pairs(path: Path, target_file: Path | None, *, reverse: bool = False) -> Pairs:
    """Read lines of source, tab, target (more columns are ignored), or two files aligned line by line.

    A zip archive is read as its largest file called *.txt or *.tsv but those whose name begins with an underscore.
    `reverse` swaps the sides. ValueError, beginning with the field, where nothing can be read.
    """
    pairs = Pairs()
    if target_file is None:
        for line in read_lines(path):
            columns = line.split("\t")
            if len(columns) > 1:
                pairs.add(columns[0], columns[1])
            elif line.strip():
                pairs.skipped["no tab in the line"] += 1
    else:
        sources, targets = read_lines(path), read_lines(target_file, "workload.target_file")
        if len(sources) != len(targets):
            raise ValueError(
                f"workload.target_file: {target_file} has {len(targets):,} lines and {path} {len(sources):,}; "
                "aligned files have the same number, each line the translation of the other"
            )
        for source, target in zip(sources, targets, strict=True):
            pairs.add(source, target)
    if reverse:
        pairs.sources, pairs.targets = pairs.targets, pairs.sources
    check_usable(pairs, str(path))
    return pairs


def check_usable(pairs: Pairs, name: str) -> None:
    """Raise ValueError where there are no pairs, or more that cannot be used than that can."""
    skipped = pairs.describe_skipped()
    if not pairs.sources:
        raise ValueError(
            f"{FIELD}: {name} has no sentence pairs; a line is source, tab, target"
            + (f", or give target_file for the other side; {skipped}" if skipped else "")
        )
    if sum(pairs.skipped.values()) > len(pairs.sources):
        raise ValueError(f"{FIELD}: more of {name} is unusable than usable ({len(pairs.sources):,} pairs): {skipped}")


def read_lines(path: Path, where: str = FIELD) -> list[str]:
    """Return the lines of a text in UTF-8, also inside a zip archive; ValueError, beginning with `where`, if none is.

    Only line feeds end a line: other characters that may would put aligned files out of step.
    """
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                member = _text_in(archive, path, where)
                with archive.open(member) as file:
                    return _decoded_lines(file, member.file_size, f"{path} ({member.filename})", where)
        with path.open("rb") as file:
            return _decoded_lines(file, path.stat().st_size, str(path), where)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(f"{where}: {path} is no zip archive that can be read: {error}") from error
    except OSError as error:
        raise ValueError(f"{where}: {path} cannot be read: {error.strerror or error}") from error


def _text_in(archive: zipfile.ZipFile, path: Path, where: str) -> zipfile.ZipInfo:
    texts = [
        member
        for member in archive.infolist()
        if member.filename.lower().endswith((".txt", ".tsv")) and not Path(member.filename).name.startswith("_")
    ]
    if not texts:
        raise ValueError(f"{where}: {path} holds no file called *.txt or *.tsv")
    return max(texts, key=lambda member: member.file_size)


def _decoded_lines(file: IO[bytes], size: int, name: str, where: str) -> list[str]:
    if size == 0:
        raise ValueError(f"{where}: {name} is empty")
    beginning = file.read(LOOK)
    if b"\0" in beginning:
        raise ValueError(f"{where}: {name} is no text: it holds NUL bytes")
    if size > MOST_BYTES:
        raise ValueError(
            f"{where}: {name} has {size:,} bytes; at most {MOST_BYTES:,} can be read, so take a part of it"
        )
    content = beginning + file.read()
    if b"\0" in content:
        raise ValueError(f"{where}: {name} is no text: it holds NUL bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: {name} is not UTF-8 text (byte {error.start:,})") from error
    return text.removesuffix("\n").replace("\r\n", "\n").split("\n")


def parts_of(sources: Sequence[str], *, valid_part: float, test_part: float) -> dict[str, list[int]]:
    """Return the numbers of the pairs in each part; no source sentence is in two of them.

    Sources that differ in case or in spaces at their ends are one sentence. They are ordered by a hash of themselves,
    so that the order of the file says nothing: the first are the test, the next for validation. These have one pair of
    each source, the first in the file, in the order of the hash; training has all its pairs, in the file's order.
    """
    members: dict[str, list[int]] = {}
    for number, source in enumerate(sources):
        members.setdefault(_sentence(source), []).append(number)
    ranked = sorted(members, key=lambda sentence: hashlib.sha256(sentence.encode()).digest())
    test = _share(test_part, len(ranked))
    valid = _share(valid_part, len(ranked))
    held_out = {"valid": ranked[test : test + valid], "test": ranked[:test]}
    return {
        "train": sorted(number for sentence in ranked[test + valid :] for number in members[sentence]),
        **{part: [members[sentence][0] for sentence in sentences] for part, sentences in held_out.items()},
    }


def _share(part: float, count: int) -> int:
    return max(round(part * count), 1) if part else 0


def _sentence(source: str) -> str:
    return source.casefold().strip()
