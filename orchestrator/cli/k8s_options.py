"""Options that the commands of `bptt k8s` share."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from orchestrator.errors import SpecError, UserError
from orchestrator.kubernetes.kubectl import NAMESPACE, Kubectl
from orchestrator.kubernetes.values import Values, read_values

Command = Callable[..., Any]
VALUES = "image, workers, hosts and so on is needed; see `bptt k8s render --help`"


def checked_namespace(name: str) -> str:
    """Return a namespace's name; UserError where it cannot be one."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
        raise UserError(f"--namespace: {name!r}; small letters, digits and dashes are allowed, as in bptt")
    return name


def with_cluster(command: Command) -> Command:
    """Give a command `--context` and `--namespace`, and the Kubectl made of them as its first argument, or second."""

    @functools.wraps(command)
    def wrapped(*settings: Any, context: str | None, namespace: str, **options: Any) -> Any:
        return command(*settings, Kubectl(context or "", checked_namespace(namespace)), **options)

    for option in (
        click.option(
            "-n", "--namespace", default=NAMESPACE, show_default=True, metavar="NAME", help="Where everything is."
        ),
        click.option("--context", metavar="NAME", help="kubectl's context.  [default: the current one]"),
    ):
        wrapped = option(wrapped)
    return wrapped


def with_values(command: Command) -> Command:
    """Give a command `--values` and `--set`."""
    for option in (
        click.option(
            "--set", "assigned", multiple=True, metavar="NAME=VALUE", help="One value; wins over the file. Repeatable."
        ),
        click.option(
            "--values",
            "file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE",
            help="YAML of values: image, workers, hosts and so on.",
        ),
    ):
        command = option(command)
    return command


def values_of(file: Path | None, assigned: Sequence[str], known: Mapping[str, Any] | None = None) -> Values:
    """Return what a file and the command line say, over what is known already; UserError where it is wrong."""
    from orchestrator.cli.assignments import read_scalar, split_assignments
    from orchestrator.sweep_file import read_mapping

    given: dict[str, Any] = dict(known or {})
    if file is not None:
        try:
            given |= read_mapping(file.read_text(encoding="utf-8"), str(file), VALUES)
        except (SpecError, OSError, UnicodeDecodeError) as error:
            raise UserError(f"--values: {error}") from error
    texts = split_assignments(assigned)
    # A tag such as 1.0 is a text, though YAML would read a number.
    return read_values(given, {name: text if name == "tag" else read_scalar(text) for name, text in texts.items()})


def cluster_flags(kubectl: Kubectl) -> str:
    """Return the flags by which this cluster was named, to be repeated in a command that is suggested next."""
    context = f" --context {shlex.quote(kubectl.context)}" if kubectl.context else ""
    return context + ("" if kubectl.namespace == NAMESPACE else f" --namespace {kubectl.namespace}")


def shown(kubectl: Kubectl, *arguments: str) -> str:
    """Return a call of kubectl as it would be typed."""
    return shlex.join(kubectl.command(*arguments))
