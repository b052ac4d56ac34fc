"""HTML of headings, sentences, facts, tables and figures: everything that anybody named is escaped here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib import resources

from orchestrator.pages import Block, Facts, Heading, Paragraph, Table


def document(title: str, body: str) -> str:
    """Return a whole page that needs nothing from anywhere else."""
    style = (resources.files(__package__) / "page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def section(name: str, title: str, *parts: str) -> str:
    """Return a part of the page under a heading; nothing where it would be empty."""
    inside = "\n".join(part for part in parts if part)
    return f'<section id="{escape(name)}">\n<h2>{escape(title)}</h2>\n{inside}\n</section>' if inside else ""


def contents(body: str) -> str:
    """Return links to the sections of a page."""
    sections = re.findall(r'<section id="([^"]+)">\n<h2>([^<]+)</h2>', body)
    return "<nav>" + "\n".join(f'<a href="#{name}">{title}</a>' for name, title in sections) + "</nav>"


def blocks(found: Sequence[Block], *, headed: bool = False) -> str:
    """Return blocks as HTML; where they stand under a heading (`headed`), without their own first one."""
    rest = found[1:] if headed and found and isinstance(found[0], Heading) else found
    return "\n".join(map(block, rest))


def block(found: Block) -> str:
    """Return one block as HTML."""
    match found:
        case Heading(text):
            return f"<h3>{escape(text)}</h3>"
        case Paragraph(text):
            return paragraph(text)
        case Facts(rows):
            lines = (f'<tr><th scope="row">{escape(label)}</th><td>{escape(text)}</td></tr>' for label, text in rows)
            return f'<div class="wide"><table class="facts">{"".join(lines)}</table></div>'
        case Table():
            return table(found)


def paragraph(text: str, kind: str = "") -> str:
    """Return sentences."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def table(found: Table) -> str:
    """Return a table, its figures set to the right; one that is too wide for the screen is moved by itself."""
    marks = [' class="figure"' if found.is_of_figures(index) else "" for index in range(len(found.columns))]
    head = "".join(
        f'<th scope="col"{mark}>{escape(name)}</th>' for name, mark in zip(found.columns, marks, strict=True)
    )
    rows = "".join(
        "<tr>" + "".join(f"<td{mark}>{escape(cell)}</td>" for cell, mark in zip(row, marks, strict=True)) + "</tr>\n"
        for row in found.rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>'


def figure(drawn: str | None, caption: str, *, wide: bool = False) -> str:
    """Return a figure, given as SVG, with what it shows in words."""
    if drawn is None:
        return ""
    kind = "drawn across" if wide else "drawn"
    label = drawn.replace("<svg", f'<svg role="img" aria-label="{escape(caption)}"', 1)
    inside = f'<div class="wide"><div class="{kind}">{label}</div></div>'
    return f"<figure>{inside}<figcaption>{escape(caption)}</figcaption></figure>"


def code(text: str, name: str) -> str:
    """Return lines to be copied."""
    return f'<pre id="{escape(name)}"><code>{escape(text)}</code></pre>'


def folded(title: str, inside: str) -> str:
    """Return something that is opened only when asked for."""
    return f"<details><summary>{escape(title)}</summary>\n{inside}\n</details>"
