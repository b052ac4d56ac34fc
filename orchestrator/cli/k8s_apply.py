"""`bptt k8s apply`: check the cluster, show what would change, and install."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.k8s_options import cluster_flags, shown, values_of, with_cluster, with_values
from orchestrator.errors import UserError
from orchestrator.kubernetes.kubectl import Kubectl

if TYPE_CHECKING:
    from orchestrator.kubernetes.kubectl import Object
    from orchestrator.kubernetes.preflight import Wanted
    from orchestrator.kubernetes.standing import Part

EPILOG = """\b
Examples:
  bptt k8s apply local --dry-run      what the cluster lacks, and what would change
  bptt k8s apply local                ask, install, wait until it is ready
  bptt k8s apply production --values values.yaml --yes

Secrets that are missing are made with random passwords; those that are there are never changed. Of databases and an
S3 server that are your own the Secrets are yours to make: the check says how. With s3.endpoint and s3.bucket in the
values, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY here, that of the S3 server is made too.

Applying again upgrades, with the values given then; the Job that migrates MLflow's databases runs again where its
image has changed.

Exit status: 1 where the cluster lacks something, or is not ready in time.
"""


@click.command("apply", epilog=EPILOG, short_help="Check the cluster, show the difference, and install.")
@click.argument("overlay", metavar="OVERLAY")
@with_values
@click.option("--dry-run", is_flag=True, help="Check and show the difference; change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=900.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until all is ready.",
)
@with_cluster
def command(
    kubectl: Kubectl,
    overlay: str,
    file: Path | None,
    assigned: Sequence[str],
    **options: bool | float,
) -> int:
    """Install OVERLAY (local, gpu or production) with your values, or bring what is installed up to date."""
    from orchestrator.kubernetes.credentials import missing
    from orchestrator.kubernetes.install import record
    from orchestrator.kubernetes.manifests import overlay as folder_of
    from orchestrator.kubernetes.preflight import Wanted
    from orchestrator.kubernetes.render import objects, rendered

    values = values_of(file, assigned)
    wanted = objects(rendered(folder_of(overlay), values, namespace=kubectl.namespace))
    wanted.append(record(overlay, values, kubectl.namespace))
    looked = Wanted(wanted, lambda: missing(kubectl, wanted, values, os.environ))
    return carry_out(kubectl, looked, **options)  # type: ignore[arg-type]


def carry_out(kubectl: Kubectl, wanted: Wanted, *, dry_run: bool, yes: bool, timeout_s: float) -> int:
    """Check, show, ask, install and wait; return the exit status."""
    from orchestrator.cli.doctor_command import show
    from orchestrator.doctor import FAILURE
    from orchestrator.kubernetes.install import difference, install, within_rights
    from orchestrator.kubernetes.preflight import examine

    failures = 0
    for finding in examine(kubectl, wanted):
        show(finding)
        failures += finding.state == FAILURE
    if failures or wanted.missing is None:
        click.echo(f"\nnothing was changed: {failures} of these must be put right first", err=True)
        return 1
    ours = within_rights(kubectl, wanted.rendered)
    changes = difference(kubectl, ours)
    click.echo("\n" + (changes or "nothing would change: all of it is there as it should be\n"), nl=False)
    if dry_run:
        return 0
    if (changes or wanted.missing.made) and not yes:
        agree(f"apply this to namespace {kubectl.namespace}" + (f" of {kubectl.context}" if kubectl.context else ""))
    unready = install(kubectl, ours, wanted.missing, timeout_s=timeout_s, say=click.echo)
    if unready:
        complain(kubectl, unready)
        return 1
    for line in addresses(kubectl, wanted.rendered):
        click.echo(line)
    return 0


def agree(question: str) -> None:
    """Ask; UserError where nobody can answer, click.Abort where the answer is no."""
    if not sys.stdin.isatty():
        raise UserError("--yes: missing; nobody can be asked here")
    click.confirm(question, abort=True)


def complain(kubectl: Kubectl, unready: Sequence[Part]) -> None:
    """Say what is not ready, and where to look on."""
    for part in unready:
        click.echo(f"{part.kind} {part.name} is not ready: {part.state}; {part.why}", err=True)
    click.echo(f"see `bptt k8s status{cluster_flags(kubectl)}`; apply again goes on", err=True)


def addresses(kubectl: Kubectl, rendered: Sequence[Object]) -> list[str]:
    """Return where everything is, and how to reach it from here."""
    flags = cluster_flags(kubectl)
    hosts = [
        f"  {rule['host']}" for each in rendered if each["kind"] == "Ingress" for rule in each["spec"].get("rules", ())
    ]
    password = shown(kubectl, "get", "secret", "bptt-tracking", "--output=jsonpath={.data.password}")
    return [
        "",
        "ready. From inside the cluster: MLflow is http://mlflow:5000, Ray's dashboard http://bptt-head-svc:8265",
        *(["under their hosts:", *hosts] if hosts else []),
        "from here:",
        f"  {shown(kubectl, 'port-forward', 'service/mlflow', '5000')}           then http://localhost:5000, user bptt",
        f"  {shown(kubectl, 'port-forward', 'service/bptt-head-svc', '8265')}    then http://localhost:8265",
        f"  {password} | base64 -d    MLflow's password",
        "run a sweep:",
        f"  bptt k8s submit demo{flags}",
    ]
