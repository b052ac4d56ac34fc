"""Pages as text and Markdown."""

from __future__ import annotations

from rich.console import Console

from orchestrator.cli.terminal import rendered
from orchestrator.pages import Facts, Heading, Paragraph, Table, markdown, plain

TABLE = Table(("cell_type", "best", "note"), [("gru", "1.5", "a|b"), ("lstm", "-", "*")])


def test_figures_are_set_to_the_right_and_words_to_the_left() -> None:
    assert plain([TABLE]).splitlines() == ["cell_type  best  note", "gru         1.5  a|b", "lstm          -  *"]


def test_a_heading_stands_close_to_what_it_heads_and_blocks_apart() -> None:
    assert plain([Heading("One"), Paragraph("Two."), Facts([("a", "1"), ("long", "2")])]) == (
        "One\n---\nTwo.\n\na     1\nlong  2\n"
    )


def test_markdown_escapes_what_would_break_a_table() -> None:
    assert markdown([TABLE]).splitlines() == [
        "| cell_type | best | note |",
        "| --- | ---: | --- |",
        "| gru | 1.5 | a\\|b |",
        "| lstm | - | \\* |",
    ]


def test_only_the_first_heading_is_the_title() -> None:
    assert markdown([Heading("One"), Heading("Two")]) == "# One\n\n## Two\n"


def test_a_terminal_shows_names_in_brackets_as_they_are() -> None:
    console = Console(width=60, color_system=None)
    with console.capture() as shown:
        console.print(rendered([Table(("loss[a]", "[/b]"), [("1", "2")]), Facts([("rate[/]", "3")])]))
    for name in ("loss[a]", "[/b]", "rate[/]"):
        assert name in shown.get()
