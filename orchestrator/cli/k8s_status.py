"""`bptt k8s status`: what is there, whether it is ready, and why not."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from orchestrator.cli.k8s_options import cluster_flags, with_cluster
from orchestrator.cli.options import as_json
from orchestrator.cli.terminal import print_page
from orchestrator.kubernetes.kubectl import Kubectl
from orchestrator.pages import Block, Facts, Heading, Paragraph, Table

EPILOG = """\b
Examples:
  bptt k8s status
  bptt k8s status --json | jq -r '.parts[] | select(.ready | not) | .why'

States of a sweep's RayJob: waiting (for nodes, images, or a queue), running, suspended, ended (how, says `bptt status
NAME`), stopped (its driver refused the sweep, as `bptt k8s logs NAME` says, or somebody stopped the job), failed, lost
(its cluster is gone: `bptt k8s submit NAME` goes on).

Exit status: 0 where all parts are ready, else 1.
"""


@click.command("status", epilog=EPILOG, short_help="Show what is there and whether it is ready.")
@as_json
@with_cluster
def command(kubectl: Kubectl, as_json: bool) -> int:
    """Show the parts that are installed and the sweeps' RayJobs, ready or not, and why not."""
    from orchestrator.kubernetes.install import installed
    from orchestrator.kubernetes.standing import parts, sweeps

    found, jobs, record = parts(kubectl), sweeps(kubectl), installed(kubectl)
    overlay = record[0] if record else ""
    is_well = bool(found) and all(each.ready for each in found)
    if as_json:
        plain = {"namespace": kubectl.namespace, "overlay": overlay, "ready": is_well}
        click.echo(json.dumps({**plain, "parts": list(map(asdict, found)), "sweeps": list(map(asdict, jobs))}))
        return 0 if is_well else 1
    if not found and not jobs:
        flags = cluster_flags(kubectl)
        print_page(
            [Paragraph(f"There is nothing in namespace {kubectl.namespace}. Try `bptt k8s apply local{flags}`.")]
        )
        return 1
    page: list[Block] = [Heading(f"namespace {kubectl.namespace}" + (f", overlay {overlay}" if overlay else ""))]
    page.append(
        Table(
            ("part", "kind", "ready", "state"),
            [(each.name, each.kind, "yes" if each.ready else "no", each.state) for each in found],
        )
    )
    if reasons := [(each.name, each.why) for each in found if each.why]:
        page += [Heading("Not ready because"), Facts(reasons)]
    if jobs:
        rows = [(each.sweep, each.name, each.state, each.cluster or "-") for each in jobs]
        page += [Heading("Sweeps"), Table(("sweep", "RayJob", "state", "cluster"), rows)]
    if reasons := [(each.name, each.why) for each in jobs if each.why]:
        page.append(Facts(reasons))
    print_page(page)
    return 0 if is_well else 1
