"""A page of headings, sentences, facts and tables, written as plain text or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Heading:
    """The title of what follows."""

    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One or more sentences."""

    text: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Labels, each with a text beside it."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns, every cell a text; columns of figures are set to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def is_of_figures(self, column: int) -> bool:
        """Tell whether every cell of a column is a figure, or a dash for want of one."""
        return all(row[column].strip("-") == "" or _is_figure(row[column]) for row in self.rows)


Block = Heading | Paragraph | Facts | Table


def plain(page: Sequence[Block]) -> str:
    """Return the page as text without colours, each paragraph and each row on one line."""
    written: list[str] = []
    for block in page:
        match block:
            case Heading(text):
                written.append(f"{text}\n{'-' * len(text)}")
            case Paragraph(text):
                written.append(text)
            case Facts(rows):
                width = max((len(label) for label, _ in rows), default=0)
                written.append("\n".join(f"{label:<{width}}  {text}".rstrip() for label, text in rows))
            case Table():
                written.append(_plain_table(block))
    # A heading stands close to what it heads.
    gaps = ["\n" if isinstance(block, Heading) else "\n\n" for block in page]
    return "".join(text + gap for text, gap in zip(written, gaps, strict=True)).strip() + "\n"


def _plain_table(table: Table) -> str:
    lines = [list(table.columns), *(list(row) for row in table.rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(table.columns))]
    right = [table.is_of_figures(index) for index in range(len(table.columns))]
    return "\n".join(
        "  ".join(
            f"{cell:>{width}}" if to_right else f"{cell:<{width}}"
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def markdown(page: Sequence[Block]) -> str:
    """Return the page as Markdown; the first heading is the title."""
    written: list[str] = []
    for block in page:
        match block:
            case Heading(text):
                written.append(f"{'##' if written else '#'} {_escaped(text)}")
            case Paragraph(text):
                written.append(_escaped(text))
            case Facts(rows):
                written.append("\n".join(f"- **{_escaped(label)}**: {_escaped(text)}" for label, text in rows))
            case Table():
                written.append(_markdown_table(block))
    return "\n\n".join(written) + "\n"


def _markdown_table(table: Table) -> str:
    marks = ["---:" if table.is_of_figures(index) else "---" for index in range(len(table.columns))]
    rows = [table.columns, *table.rows]
    lines = ["| " + " | ".join(map(_escaped, row)) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join(marks) + " |")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    # Names such as hidden_size are safe as they are: an underscore inside a word is no emphasis.
    for character in ("\\", "|", "*", "<", "["):
        text = text.replace(character, "\\" + character)
    return text


def _is_figure(text: str) -> bool:
    try:
        float(text.replace(",", "").removesuffix(" %"))
    except ValueError:
        return False
    return True
