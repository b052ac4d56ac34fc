"""`--help`: what every command says of itself."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

import workloads
from orchestrator.cli.main import group


def every_command(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Yield a command and all below it, each with its name as it is typed."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for each in command.list_commands(context):
            below = command.get_command(context, each)
            assert below is not None
            yield from every_command(below, f"{name} {each}")


EVERY = dict(every_command(group, "bptt"))


@pytest.mark.parametrize("name", EVERY)
def test_every_command_shows_how_it_is_called(name: str) -> None:
    said = EVERY[name].get_help(click.Context(EVERY[name], info_name=name))
    assert "Examples:" in said
    assert name in said.partition("Examples:")[2]


@pytest.mark.parametrize("name", ["bptt init", "bptt train"])
def test_a_command_that_takes_a_workload_names_them_all(name: str) -> None:
    said = EVERY[name].get_help(click.Context(EVERY[name], info_name=name))
    for kind in workloads.KINDS:
        assert kind in said
