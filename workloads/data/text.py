"""Text: where it comes from, and how it becomes numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from workloads.data import catalogue

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""Stands for every token outside the vocabulary."""


def read_text(name: str) -> tuple[str, str]:
    """Return the text called `name` (of the catalogue, or a path) and its source.

    ValueError where there is none, or where it is not UTF-8.
    """
    if name == "python-reference":
        return (
            _python_reference(),
            "the Python language reference, as CPython carries it in pydoc_data.topics",
        )
    path, source = catalogue.locate(name, "workload.text")
    try:
        return path.read_text(encoding="utf-8-sig"), source
    except UnicodeDecodeError as error:
        raise ValueError(f"workload.text: {path} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise ValueError(f"workload.text: {path} cannot be read: {error.strerror}") from error


def _python_reference() -> str:
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def tokenize(text: str, unit: str) -> list[str]:
    """Cut a text into characters, or into words at spaces; the end of a line is a word of its own."""
    if unit == "character":
        return list(text)
    return [word for word in text.replace("\n", " \n ").split(" ") if word]


def join(tokens: Sequence[str], unit: str) -> str:
    """Put tokens together as a text: what `tokenize` cut, spaces at the ends of lines and double ones left out."""
    if unit == "character":
        return "".join(tokens)
    return " ".join(tokens).replace(" \n ", "\n").replace(" \n", "\n").replace("\n ", "\n")


def vocabulary_of(tokens: Sequence[str], size: int) -> list[str]:
    """Return the unknown token and then the most frequent tokens, by frequency and then by name."""
    counts = Counter(tokens)
    counts.pop(UNKNOWN, None)
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    return [UNKNOWN, *ranked[: size - 1]]


def encode(tokens: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
    """Return the numbers of `tokens`, int32; 0 for those that the vocabulary lacks."""
    number = {token: index for index, token in enumerate(vocabulary)}
    return np.fromiter((number.get(token, 0) for token in tokens), dtype=np.int32, count=len(tokens))


def pack_lines(lines: Sequence[str]) -> np.ndarray:
    """Return texts without line breaks as one array of bytes, uint8, so that workers share them."""
    return np.frombuffer("\n".join(lines).encode(), np.uint8)


def unpack_lines(packed: np.ndarray) -> list[str]:
    """Return the texts that `pack_lines` packed."""
    return packed.tobytes().decode().split("\n")
