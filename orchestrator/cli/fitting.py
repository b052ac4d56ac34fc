"""Texts cut to the room that there is: in the middle, since a name's end tells it apart as often as its beginning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.wording import in_view_order, value_of

SHORTEST = 6
"""Characters that are left of a hyperparameter's name, where it was longer."""


def can_show(characters: str, encoding: str) -> bool:
    """Tell whether a terminal of that encoding shows these characters."""
    try:
        characters.encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def shortened(text: str, width: int, encoding: str = "utf-8") -> str:
    """Return a text of at most `width` characters, what is too much left out of its middle."""
    if len(text) <= width:
        return text
    dots = "…" if can_show("…", encoding) else ".."
    room = max(width - len(dots), 0)
    return (text[: (room + 1) // 2] + dots + text[len(text) - room // 2 :])[:width]


def joined(items: Sequence[str], width: int) -> str:
    """Return as many items as there is room for, and how many there are beside them."""
    for shown in range(len(items), 0, -1):
        left = len(items) - shown
        text = ", ".join(items[:shown]) + (f", and {left} more" if left else "")
        if len(text) <= width:
            return text
    return f"{len(items)}"


def setting_lines(chosen: Mapping[str, Any], width: int, *, most: int = 2, encoding: str = "utf-8") -> list[str]:
    """Return a setting in at most so many lines; where they do not hold it, first its names are shortened."""
    names = in_view_order(chosen)
    longest = max(map(len, names), default=0)
    lines: list[str] = []
    for limit in range(longest, min(SHORTEST, longest) - 1, -1):
        lines = packed([f"{shortened(name, limit, encoding)} {value_of(chosen[name])}" for name in names], width)
        if len(lines) <= most and all(len(line) <= width for line in lines):
            break
    kept, rest = lines[: most - 1], " ".join(lines[most - 1 :])
    return [shortened(line, width, encoding) for line in (*kept, rest) if line]


def packed(items: Sequence[str], width: int) -> list[str]:
    """Return the items on as few lines as they take, a comma behind each but the last."""
    lines: list[str] = []
    for index, item in enumerate(items):
        text = item if index == len(items) - 1 else f"{item},"
        if lines and len(lines[-1]) + 1 + len(text) <= width:
            lines[-1] += f" {text}"
        else:
            lines.append(text)
    return lines
