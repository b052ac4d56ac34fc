"""`bptt doctor`: everything a sweep needs, looked at, with what to do about what is not well."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

import click

from orchestrator import doctor
from orchestrator.cli.options import as_json, with_settings
from orchestrator.doctor import FAILURE, OK, WARNING, Finding
from orchestrator.settings import Settings

EPILOG = """\b
Examples:
  bptt doctor
  bptt doctor --json
  BPTT_RAY_ADDRESS=head:6379 bptt doctor   look at a cluster

Exit status: 0 unless something fails; a warning is no failure.
"""
COLOURS = {OK: "green", WARNING: "yellow", FAILURE: "red"}


@click.command("doctor", epilog=EPILOG, short_help="Check Ray, devices, databases, tracking and disk.")
@as_json
@with_settings
def command(settings: Settings, as_json: bool) -> int:
    """Check packages, devices, databases, tracking, storage, disk, data and Ray. Changes nothing."""
    findings = []
    for finding in examine(settings, live=sys.stdout.isatty() and not as_json):
        findings.append(finding)
        if not as_json:
            show(finding)
    counts = {state: sum(finding.state == state for finding in findings) for state in COLOURS}
    if as_json:
        click.echo(json.dumps({**counts, "findings": [asdict(finding) for finding in findings]}))
    else:
        click.echo(f"\n{counts[OK]} ok, {counts[WARNING]} warnings, {counts[FAILURE]} failures")
    return 1 if counts[FAILURE] else 0


def examine(settings: Settings, *, live: bool) -> Iterator[Finding]:
    """Make every check, saying on a terminal which one is under way."""
    for name, check in doctor.CHECKS.items():
        if live:
            click.echo(f"checking {name} ...", nl=False)
        found = list(check(settings))
        if live:
            click.echo("\r\x1b[K", nl=False)
        yield from found


def show(finding: Finding) -> None:
    """Print one finding, and what to do about it."""
    state = click.style(f"{finding.state:<8}", fg=COLOURS[finding.state])
    click.echo(f"{state} {finding.name:<15} {finding.message}")
    if finding.advice:
        click.echo(f"{'':<25}{finding.advice}")
