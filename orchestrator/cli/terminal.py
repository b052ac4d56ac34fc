"""Pages in a terminal, with colours and folded to its width; in a pipe they are plain lines."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from orchestrator.pages import Block, Facts, Heading, Paragraph, Table, plain


def print_page(page: Sequence[Block]) -> None:
    """Write a page to stdout."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(rendered(page))
    else:
        click.echo(plain(page), nl=False)


def rendered(page: Sequence[Block]) -> RenderableType:
    """Return what rich draws a page from."""
    parts: list[RenderableType] = []
    for index, block in enumerate(page):
        if index and not isinstance(page[index - 1], Heading):
            parts.append(Text(""))
        match block:
            case Heading(text):
                parts.append(Text(text, style="bold"))
            case Paragraph(text):
                parts.append(Text(text))
            case Facts(rows):
                parts.append(facts_grid(rows))
            case Table():
                parts.append(_table(block))
    return Group(*parts)


def facts_grid(rows: Sequence[tuple[str, str]]) -> RichTable:
    """Return labels and what they stand for, side by side."""
    grid = RichTable.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in rows:
        grid.add_row(Text(label), Text(text))
    return grid


def _table(block: Table) -> RichTable:
    table = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for index, column in enumerate(block.columns):
        justify: JustifyMethod = "right" if block.is_of_figures(index) else "left"
        # Not as a string, which rich would read as markup: a metric may be called loss[a].
        table.add_column(Text(column.replace("_", "\n")), justify=justify, overflow="fold")
    for row in block.rows:
        table.add_row(*map(Text, row))
    return table
