"""`bptt k8s delete`: remove what was installed; what cannot be made again stays unless told otherwise."""

from __future__ import annotations

import click

from orchestrator.cli.k8s_apply import agree
from orchestrator.cli.k8s_options import shown, with_cluster
from orchestrator.errors import UserError
from orchestrator.kubernetes.kubectl import Kubectl

EPILOG = """\b
Examples:
  bptt k8s delete                 ask, then remove; volumes and Secrets stay, and apply finds them again
  bptt k8s delete --with-data     volumes and Secrets too: databases, checkpoints and models in them are lost

Running sweeps lose at most the evaluations under way, and go on with `bptt k8s submit NAME` after the next apply. The
namespace stays.
"""


@click.command("delete", epilog=EPILOG, short_help="Remove what was installed; the data stay.")
@click.argument("overlay", metavar="[OVERLAY]", required=False)
@click.option("--keep-data/--with-data", default=True, show_default=True, help="Whether volumes and Secrets stay.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_cluster
def command(kubectl: Kubectl, overlay: str | None, keep_data: bool, yes: bool) -> None:
    """Remove the sweeps' RayJobs and all that the installed OVERLAY has, from the namespace that it is in."""
    from orchestrator.kubernetes.install import installed
    from orchestrator.kubernetes.removal import doomed, remove
    from orchestrator.kubernetes.standing import sweeps

    found = installed(kubectl)
    name = overlay or (found[0] if found else "")
    if not name:
        raise UserError(f"OVERLAY: missing; nothing was installed in namespace {kubectl.namespace} by `bptt k8s apply`")
    chosen = doomed(kubectl, name, keep_data=keep_data)
    live = [each.sweep for each in sweeps(kubectl) if each.is_live]
    for each in chosen:
        click.echo(f"- {each}")
    if live:
        click.echo(f"sweeps that run: {', '.join(live)}")
    if not keep_data:
        click.echo("what was trained and found is lost with the volumes and Secrets, where the cluster holds it")
    if not yes:
        agree(f"delete this from namespace {kubectl.namespace}" + (f" of {kubectl.context}" if kubectl.context else ""))
    remove(kubectl, chosen, say=click.echo)
    if keep_data:
        click.echo(f"kept: {shown(kubectl, 'get', 'persistentvolumeclaims,secrets')} shows the data and the Secrets")
