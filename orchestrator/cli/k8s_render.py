"""`bptt k8s render`: an overlay with the user's values, as YAML. No cluster is asked."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.k8s_options import checked_namespace, values_of, with_values
from orchestrator.kubernetes.kubectl import NAMESPACE

EPILOG = """\b
Examples:
  bptt k8s render local > local.yaml
  bptt k8s render production --values values.yaml
  bptt k8s render gpu --set gpu_workers.most=4 --set registry=registry.example.com/team

\b
A file of values, all of which may be left out:
  registry: registry.example.com/team    where bptt-trainer, bptt-trainer-gpu and bptt-mlflow are
  tag: 0.1.0                             image, gpu_image, mlflow_image name one in full
  head: {cpus: 2, memory: 8Gi}
  workers: {least: 0, most: 8, cpus: 4, memory: 16Gi}
  gpu_workers: {least: 0, most: 2, cpus: 8, memory: 32Gi, gpus: 1}
  storage_class: standard
  hosts: {mlflow: mlflow.example.com}
  s3: {endpoint: https://s3.example.com, bucket: sweeps}     for the Secret that `bptt k8s apply` asks for

No Secret is rendered: `bptt k8s apply` makes those that are missing.
"""


@click.command("render", epilog=EPILOG, short_help="Print an overlay with your values, as YAML.")
@click.argument("overlay", metavar="OVERLAY")
@with_values
@click.option("-n", "--namespace", default=NAMESPACE, show_default=True, metavar="NAME", help="Where it shall be.")
def command(overlay: str, file: Path | None, assigned: tuple[str, ...], namespace: str) -> None:
    """Print OVERLAY (local, gpu or production) with your values, by `kubectl kustomize`."""
    from orchestrator.kubernetes.manifests import overlay as folder_of
    from orchestrator.kubernetes.render import rendered

    values = values_of(file, assigned)
    click.echo(rendered(folder_of(overlay), values, namespace=checked_namespace(namespace)), nl=False)
