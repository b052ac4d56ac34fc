"""`bptt k8s logs`: what the driver of a sweep says, or a part of the installation."""

from __future__ import annotations

import click

from orchestrator.cli.k8s_options import cluster_flags, with_cluster
from orchestrator.errors import UserError
from orchestrator.jobs.server import ON_THE_HEAD
from orchestrator.kubernetes.kubectl import Kubectl, name_of, within

EPILOG = """\b
Examples:
  bptt k8s logs NAME -f          the driver of a sweep, until its job ends
  bptt k8s logs mlflow           a part: mlflow, mlflow-migrate, postgres, and what else `bptt k8s status` shows

A sweep's lines are with its cluster and go with it; what it found is in the sweeps' database and in MLflow.
"""


@click.command("logs", epilog=EPILOG, short_help="Show what a sweep's driver or a part says.")
@click.argument("name", metavar="NAME")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job, or the part, ends.")
@with_cluster
def command(kubectl: Kubectl, name: str, follow: bool) -> int:
    """Show the lines of the driver of the sweep NAME, or of the part NAME."""
    from orchestrator.kubernetes.forward import CLUSTER
    from orchestrator.kubernetes.standing import parts, sweeps

    more = ["--follow"] if follow else []
    known = [each for each in sweeps(kubectl) if each.sweep == name]
    if not known:
        part = next((each for each in parts(kubectl) if each.name == name and each.kind != "RayCluster"), None)
        if part is not None:
            return kubectl.stream("logs", f"{part.kind.lower()}/{name}", "--all-containers", *more)
    cluster = known[-1].cluster if known else CLUSTER
    head = head_of(kubectl, cluster)
    if head is None:
        flags = cluster_flags(kubectl)
        if known and known[-1].is_live:
            raise UserError(f"{name}: its cluster has no head yet: {known[-1].why or known[-1].state}; try again later")
        if known:
            raise UserError(
                f"{name}: its cluster is gone and its lines with it; `bptt k8s status{flags}` says how it went"
            )
        raise UserError(f"NAME: {name!r} is no sweep here and no part; `bptt k8s status{flags}` lists both")
    # Asked there, where the token is, and the database knows the job.
    return kubectl.stream(
        "exec", head, "--container=ray-head", "--", "bptt", "logs", name, f"--address={ON_THE_HEAD}", *more
    )


def head_of(kubectl: Kubectl, cluster: str) -> str | None:
    """Return the pod of a cluster's head that runs; None where there is none."""
    found = kubectl.find("pods", f"--selector=ray.io/cluster={cluster},ray.io/node-type=head")
    return next((name_of(each) for each in found if within(each, "status", "phase") == "Running"), None)
