"""The pages for operators: every command in them is one that there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from orchestrator.cli.main import group

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "deploy").glob("*.md"))
QUOTED = re.compile(r"`([^`\n]+)`")


def commands(page: Path) -> list[str]:
    """Return what a page shows as to be typed: lines set apart, and what stands in quotes."""
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    apart = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return apart + QUOTED.findall(text)


def called(page: Path, program: str) -> list[list[str]]:
    """Return the arguments of every call of a program."""
    found = []
    for line in commands(page):
        for part in re.split(r"&&|;|\|", line.split("#")[0]):
            words = shlex.split(part) if part.count('"') % 2 == 0 and part.count("'") % 2 == 0 else part.split()
            if program in words[:1] and len(words) > 1:
                found.append(words[1:])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_bptt_is_there_with_its_options(page: Path) -> None:
    context = click.Context(group)
    for name, *arguments in called(page, "bptt"):
        command = group.get_command(context, name)
        while isinstance(command, click.Group):
            name, *arguments = arguments
            command = command.get_command(context, name)
        assert command is not None, f"bptt {name}"
        known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in arguments if word.startswith("-")} <= known, f"bptt {name} {arguments}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_target_of_make_and_every_file_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[0] for words in called(page, "make")} <= targets
    text = page.read_text()
    for path in re.findall(r"`((?:deploy|k8s|ray|compose|tests)/[\w./-]+)`", text):
        assert (ROOT / path).exists() or (ROOT / "deploy" / path).exists(), path
    for target in re.findall(r"\]\(([\w./-]+\.md)", text):
        assert (page.parent / target).is_file(), target


def test_there_are_pages() -> None:
    assert [page.name for page in PAGES] == ["limits.md", "operations.md", "threats.md"]
    assert sum(len(called(page, "bptt")) for page in PAGES) > 10
